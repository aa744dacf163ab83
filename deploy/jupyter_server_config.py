"""Configuration of the Jupyter server in production, for containers and systemd alike.

Installed as /etc/dti/jupyter_server_config.py and found through JUPYTER_CONFIG_PATH=/etc/dti. The service's own
settings come from the environment (DTI_*); the token from JUPYTER_TOKEN_FILE or JUPYTER_TOKEN.
"""

import os
from pathlib import Path

c = get_config()  # noqa: F821 (given by Jupyter to its configuration files)

data_dir = Path(os.environ.get("DTI_DATA_DIR", "/var/lib/dti"))

c.ServerApp.open_browser = False
c.ServerApp.port_retries = 0  # another port would be one that nobody looks at
c.ServerApp.allow_unauthenticated_access = False
# A proxy or tunnel stands before the server, so that the name by which it is called is not its own.
c.ServerApp.allow_remote_access = True
# The proxy tells whether the browser came by https; only a proxy on this machine or in this network can connect.
c.ServerApp.trust_xheaders = True
c.ServerApp.root_dir = str(data_dir)
c.ServerApp.terminals_enabled = False
c.ServerApp.quit_button = False
# Logins survive a restart.
c.ServerApp.cookie_secret_file = str(data_dir / ".cookie-secret")
