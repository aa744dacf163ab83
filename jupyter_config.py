"""JupyterLab with the DTI service: `jupyter lab --config=jupyter_config.py`.

Every setting of the service is a trait of `DTIServiceApp` with an environment variable of the same meaning; a file
`.env` beside this one (see `.env.template`) is read first, and variables that are set already win over it.
`jupyter dti --help-all` lists all settings with their help.
"""

import os
from pathlib import Path

here = Path(__file__).resolve().parent

env_file = here / ".env"
if env_file.is_file():
    for line in env_file.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            os.environ.setdefault(name.strip(), value.strip().strip("'\""))

c = get_config()  # noqa: F821 (given by Jupyter to its configuration files)

c.ServerApp.jpserver_extensions = {"dti_service": True}
c.ServerApp.root_dir = str(here)

# The launcher tile and the menu of this checkout, whatever version of them is installed.
c.LabApp.extra_labextensions_path = [str(here / "dti_service" / "labextensions")]

# Every route must say who may use it; one that does not is closed.
c.ServerApp.allow_unauthenticated_access = False

# Large uploads are streamed to disk by the service; this limits what other routes hold in memory.
# c.ServerApp.max_body_size = 512 * 1024 * 1024

# c.DTIServiceApp.data_dir = "/srv/dti"
# c.DTIServiceApp.devices = "cuda:0,cuda:1"
# c.DTIServiceApp.time_limit = "12h"
# c.DTIServiceApp.public_url = "https://dti.example.org/"
# c.DTIServiceApp.allow_hosts = ["front.example.org", "10.0.0.0/8"]
# c.DTIServiceApp.dataset_roots = ["/data/images"]
# c.DTIServiceApp.retention_days = 90
