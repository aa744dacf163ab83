"""The port of the server, proxies, and the address under which others reach it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from urllib.parse import urlsplit

import psutil

from dti_service.doctor.check import Check
from dti_service.presence import Process, present
from dti_service.settings import Settings

TIMEOUT_S = 10.0
HEALTH = "dti/api/health"


def port(settings: Settings) -> Iterator[Check]:
    """A server that runs answers at its address; where none runs, its port is free."""
    here = _servers_here(settings)
    for server in here:
        url = listening_at(server)
        problem = health_problem(url, direct=True)
        yield Check(
            "server",
            not problem,
            problem or f"answers at {url}",
            "Look at its log (journalctl -u dti-server, deploy/docker.sh logs) and restart it.",
        )
    if here:
        return
    number = os.environ.get("PORT", "8888")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        yield Check("port", False, f"PORT={number}", "Set PORT to a number from 1 to 65535.")
        return
    with socket.socket() as probe:
        probe.settimeout(1.0)
        taken = probe.connect_ex(("127.0.0.1", int(number))) == 0
    yield Check(
        "port",
        not taken or settings.profile != "production",
        f"{number} is {'used by another program' if taken else 'free'}",
        f"Find the program (ss -ltnp 'sport = :{number}') and end it, or let the server listen elsewhere.",
    )


def proxy(_: Settings) -> Iterator[Check]:
    """A proxy for the way out must not stand between the processes of this machine."""
    proxies = urllib.request.getproxies()
    used = {kind: address for kind, address in proxies.items() if kind in ("http", "https", "all")}
    if not used:
        return
    local = [host for host in ("127.0.0.1", "localhost") if not urllib.request.proxy_bypass(host)]
    shown = ", ".join(sorted(urlsplit(address).hostname or address for address in used.values()))
    yield Check(
        "proxy",
        not local,
        f"{shown} would also be asked for {' and '.join(local)}" if local else shown,
        "Set NO_PROXY=127.0.0.1,localhost (and the names of your other machines).",
    )


def public_url(settings: Settings) -> Iterator[Check]:
    """Does the address that stands in callbacks lead to this service?"""
    url = settings.public_url
    if not url:
        return
    name = "public address"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        remedy = "Set DTI_PUBLIC_URL to an address such as https://dti.example.org/."
        yield Check(name, False, f"{url} is not an http address", remedy)
        return
    for server in _servers_here(settings):
        inside, outside = (urlsplit(item).path.strip("/") for item in (base_of(server.url), url))
        if inside != outside:
            yield Check(
                "base URL",
                False,
                f"the server is below /{inside}, its public address says /{outside}",
                "Make c.ServerApp.base_url and the path of DTI_PUBLIC_URL the same; the proxy must not change it.",
            )
    problem = health_problem(url)
    yield Check(
        name,
        not problem,
        problem or f"{url} leads to the service",
        "Check name and port of DTI_PUBLIC_URL, the proxy or tunnel before the server, and that the server runs."
        " (An address that only the front can reach cannot be checked from here.)",
    )


def health_problem(url: str, *, direct: bool = False) -> str:
    """Asks the service at this base address how it is; the problem, or an empty text. `direct`: without any proxy."""
    address = f"{base_of(url).rstrip('/')}/{HEALTH}"
    handlers = [urllib.request.ProxyHandler({})] if direct else []
    try:
        with urllib.request.build_opener(*handlers).open(address, timeout=TIMEOUT_S) as answer:
            healthy = "checks" in json.loads(answer.read(10_000))
    except urllib.error.HTTPError as error:
        with error:
            return f"{address} answers {error.code} {error.reason}"
    except (OSError, HTTPException) as error:
        return f"{address} cannot be reached: {getattr(error, 'reason', None) or error}"
    except (ValueError, TypeError):
        healthy = False
    return "" if healthy else f"something else than this service answers at {address}"


def base_of(url: str) -> str:
    """The base address of a server that told the address of its page."""
    base = url.split("?")[0].rstrip("/")
    for page in ("/dti", "/lab", "/tree"):
        base = base.removesuffix(page)
    return base + "/"


def listening_at(server: Process) -> str:
    """The address of a server of this machine; what it told names the loopback, wherever it listens."""
    url = base_of(server.url)
    number = urlsplit(url).port
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.Process(server.pid).net_connections("inet"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == number
            if listens and connection.laddr.ip not in ("0.0.0.0", "::"):
                ip = connection.laddr.ip
                return (
                    urlsplit(url)
                    ._replace(netloc=f"[{ip}]:{number}" if ":" in ip else f"{ip}:{number}")
                    .geturl()
                )
    return url


def _servers_here(settings: Settings) -> list[Process]:
    host = socket.gethostname()
    found = present(settings.data_dir)
    return [
        item for item in found if item.kind == "server" and item.host == host and item.url.startswith("http:")
    ]
