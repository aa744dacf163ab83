"""The ends of the encrypted tunnel that are set up on this machine (deploy/spiped/)."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from dti_service.doctor.check import Check
from dti_service.doctor.network import health_problem
from dti_service.settings import Settings

ENABLED = "systemd/system/multi-user.target.wants"
TIMEOUT_S = 5.0


def tunnels(_: Settings, etc: Path | None = None) -> Iterator[Check]:
    """Key and address of every end that is enabled; `etc`: the machine's /etc."""
    etc = etc or Path(os.environ.get("DTI_ETC", "/etc"))
    units = sorted((etc / ENABLED).glob("dti-tunnel@*.service"))
    names = [unit.name.removeprefix("dti-tunnel@").removesuffix(".service") for unit in units]
    if names:
        yield key(etc / "dti" / "tunnel.key")
    for name in names:
        yield end(name, etc / "dti" / "tunnels" / f"{name}.env")


def key(path: Path) -> Check:
    """It belongs to root alone: systemd hands it to the tunnel."""
    name, remedy = "tunnel key", f"chmod 600 {path}"
    try:
        found = path.stat()
    except FileNotFoundError:
        return Check(
            name,
            False,
            f"{path} does not exist",
            "Make it with deploy/spiped/keygen.sh, or copy the other end's.",
        )
    except PermissionError:
        return Check(name, True, f"{path} is not for this user, as it should be")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return Check(name, False, f"others may read or change {path} (mode {mode:04o})", remedy)
    if found.st_size < 32:
        return Check(
            name,
            False,
            f"{path} has {found.st_size} bytes",
            "A key has 32: copy it again from the other end.",
        )
    return Check(name, True, str(path))


def end(name: str, path: Path) -> Check:
    """Does it listen, and, where it leads to the service, does the service answer through it?"""
    label = f"tunnel {name}"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        return Check(
            label, False, f"{path}: {error.strerror}", "Install it again: deploy/systemd/install.sh --tunnel"
        )
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    host, _, port = values.get("SOURCE", "").rpartition(":")
    if not port.isdecimal():
        return Check(label, False, f"{path} has no SOURCE=[address]:port", "Correct it: see deploy/spiped/.")
    host = host.strip("[]").replace("0.0.0.0", "127.0.0.1")
    try:
        socket.create_connection((host, int(port)), TIMEOUT_S).close()
    except OSError as error:
        remedy = f"systemctl restart dti-tunnel@{name}; journalctl -u dti-tunnel@{name}"
        return Check(label, False, f"nothing listens at {host}:{port} ({error})", remedy)
    if name == "server-out" and (problem := health_problem(f"http://{host}:{port}/", direct=True)):
        remedy = (
            "At the other end: does dti-tunnel@server-in run, with the same key, and is its port open to us?"
        )
        return Check(label, False, problem, remedy)
    return Check(label, True, f"listens at {host}:{port}")
