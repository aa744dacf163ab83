"""Which addresses may be reached: public ones, and those that a setting allows."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx

from dti_service.datasets.guard.errors import FetchError, GuardError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Not reachable from the public internet, or another address in disguise. Written out because what the standard
# library calls global has changed between versions of Python.
_CLOSED = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23",  # Teredo, benchmarking, ORCHID ...
        "2001:db8::/32", "2002::/16",  # documentation; 6to4
        "2620:4f:8000::/48", "3fff::/20",
    )
]  # fmt: skip
# Every public IPv6 address is in here; mapped IPv4, NAT64, local, link-local and multicast ones are not.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")

_REMEDY_ALLOW = "use a public address, or have the administrator add the host to DTI_ALLOW_HOSTS"


def is_public(address: Address) -> bool:
    """Whether an address is an ordinary one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address not in _GLOBAL_V6):
        return False
    return not any(address.version == network.version and address in network for network in _CLOSED)


@dataclass(frozen=True)
class AllowList:
    """Hosts that may be reached besides public ones: names, name:port, networks; empty by default."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[Network, ...] = field(default=())

    @classmethod
    def parse(cls, entries: str | Iterable[str]) -> AllowList:
        """Read a comma-separated text or a list; an entry that is none of the three raises ValueError."""
        items = entries.split(",") if isinstance(entries, str) else list(entries)
        hosts: set[tuple[str, int | None]] = set()
        networks: list[Network] = []
        for item in (entry.strip().lower() for entry in items):
            if not item:
                continue
            try:
                networks.append(ipaddress.ip_network(item, strict=False))
                continue
            except ValueError:
                pass
            try:
                url = httpx.URL(f"http://{item}")
            except httpx.InvalidURL as error:
                raise ValueError(f"DTI_ALLOW_HOSTS: {item!r} is not a host, host:port or network") from error
            if (
                not url.host
                or len(item.split()) > 1
                or url.userinfo
                or url.path not in ("", "/")
                or url.query
            ):
                raise ValueError(f"DTI_ALLOW_HOSTS: {item!r} is not a host, host:port or network")
            # httpx leaves out a port that is the scheme's own
            port = 80 if item.endswith(":80") else url.port
            hosts.add((url.host.rstrip("."), port))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str, port: int) -> bool:
        host = host.lower().rstrip(".")
        return (host, None) in self.hosts or (host, port) in self.hosts

    def holds(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)


def parse_url(text: str, *, length: int = 4096) -> httpx.URL:
    """A well-formed http or https address without credentials; `GuardError` otherwise. Nothing is looked up."""
    subject = text if isinstance(text, str) else repr(text)
    if not isinstance(text, str) or not text or len(text) > length:
        raise GuardError(
            subject, f"not an address of 1 to {length} characters", "give an http or https address"
        )
    if any(ord(character) <= 32 or ord(character) == 127 for character in text):
        raise GuardError(
            subject, "the address holds spaces or control characters", "encode them as %20 and so on"
        )
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise GuardError(subject, "not a valid address", "check it in a browser") from error
    if url.scheme not in ("http", "https"):
        raise GuardError(subject, f"the scheme {url.scheme or '(none)'} is not allowed", "use http or https")
    if url.userinfo:
        # The subject is shown and logged: keep the secret out of it.
        safe = str(url.copy_with(userinfo=b""))
        raise GuardError(safe, "the address holds a user name or password", "use an address that needs none")
    if not host or host.startswith(".") or "%" in host:
        raise GuardError(subject, "the address names no host", "check it in a browser")
    if url.port is not None and not 0 < url.port < 65536:
        raise GuardError(subject, "the port is out of range", "use a port from 1 to 65535")
    return url


def port_of(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def check_url(text: str, allow: AllowList) -> httpx.URL:
    """What can be said of an address without looking its name up: for requests that only store it."""
    url = parse_url(text)
    try:
        address = ipaddress.ip_address(url.host.rstrip("."))
    except ValueError:
        local = url.host.lower().rstrip(".")
        if local == "localhost" or local.endswith(".localhost"):
            address = ipaddress.ip_address("127.0.0.1")
        else:
            _check_port(url.host, port_of(url), allow)
            return url
    _permitted(url.host, port_of(url), [address], allow)
    return url


def _check_port(host: str, port: int, allow: AllowList) -> None:
    if port not in (80, 443) and port < 1024 and not allow.names(host, port):
        raise GuardError(f"{host}:{port}", "this port belongs to another service than the web", _REMEDY_ALLOW)


def _permitted(host: str, port: int, addresses: list[Address], allow: AllowList) -> list[Address]:
    _check_port(host, port, allow)
    if allow.names(host, port):
        return addresses
    permitted = [address for address in addresses if is_public(address) or allow.holds(address)]
    if not permitted:
        raise GuardError(host, "the host has no public address", _REMEDY_ALLOW)
    return permitted


def resolve(host: str, port: int, allow: AllowList) -> list[str]:
    """Look a host up once and return those of its addresses that may be connected to; `GuardError` when none may,
    `FetchError` when the name is not known. The caller connects to these and never to the name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        transient = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        raise FetchError(host, "the host is not known", "check the address", transient=transient) from error
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    return [str(address) for address in _permitted(host, port, list(dict.fromkeys(addresses)), allow)]
