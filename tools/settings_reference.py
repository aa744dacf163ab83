"""Writes docs/settings.md from the traits of the server extension, so that the reference cannot fall behind the code.

.venv/bin/python tools/settings_reference.py           write it
.venv/bin/python tools/settings_reference.py --check   exit code 1 when it is not current
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dti_service.extension import DTIServiceApp
from dti_service.settings import Settings

TARGET = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

HEAD = """\
# Settings

<!-- Written by tools/settings_reference.py from the traits in dti_service/extension.py: change it there. -->

Every setting is an environment variable, read by the server, by `dti worker` and by all commands, and a trait of the
same meaning for a Jupyter configuration file or the command line of the server. A trait wins over the variable, and an
empty variable counts as not set. Workers read no Jupyter configuration: with workers of their own, set variables. A
value that cannot be used ends the program at once, with the name of the variable and the reason.

```python
# jupyter_config.py
c.DTIServiceApp.time_limit = "12h"
```

| where | how |
|---|---|
| JupyterLab with `jupyter_config.py` | a file `.env` beside it (see `.env.template`) |
| `dti` commands by hand | exported variables |
| container | `deploy/.env` (see `deploy/.env.template`) |
| systemd | `/etc/dti/dti.env` |

| variable | trait of `DTIServiceApp` | default | meaning |
|---|---|---|---|
"""

FOOT = """
Lists are separated by commas. Times are written `90s`, `15m`, `24h`, `30d`.

Two more variables are read by `dti doctor` and the checks at start, and have no trait:

| variable | meaning |
|---|---|
| `DTI_SECRET_FILES` | files with keys, comma separated: production refuses to start when everybody may read one |
| `JUPYTER_TOKEN_FILE` | the file with the token of the server (Jupyter's own setting) |

The settings of the Jupyter server itself (address, port, certificate, base URL) are those of
[its own documentation](https://jupyter-server.readthedocs.io/en/latest/other/full-config.html);
`deploy/jupyter_server_config.py` sets what a production server needs.
"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    variable: str
    trait: str
    default: str
    meaning: str

    def __str__(self) -> str:
        variable = f"`{self.variable}`" if self.variable else ""
        default = f"`{self.default}`" if self.default else ""
        return f"| {variable} | `{self.trait}` | {default} | {self.meaning} |"


def rows() -> Iterator[Row]:
    """Each trait that can be configured, by name."""
    app = DTIServiceApp()
    app.environment = Settings.from_env({})  # what this machine sets is nobody else's default
    declared = DTIServiceApp.class_own_traits(config=True)
    for name, trait in declared.items():
        text, _, tail = trait.help.partition(" Default: ")
        found = re.match(r"DTI_[A-Z_]+", tail)
        yield Row(found[0] if found else "", name, shown(name, getattr(app, name)), text.replace("|", "\\|"))


def shown(name: str, value: Any) -> str:
    """A default as it would be written in a variable; empty for none."""
    if name == "data_dir":
        return "./data"
    if name == "time_limit":
        return f"{float(str(value).removesuffix('s')) / 3600:g}h"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def page() -> str:
    return HEAD + "".join(f"{row}\n" for row in rows()) + FOOT


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        TARGET.write_text(page())
        return 0
    if TARGET.exists() and TARGET.read_text() == page():
        return 0
    print(f"{TARGET.name} is not current: run .venv/bin/python tools/settings_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
