"""Which addresses may be reached, and that a connection goes to the very address that was judged."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dti_service.datasets.guard.addresses import AllowList, check_url, is_public, resolve
from dti_service.datasets.guard.errors import FetchError, GuardError
from dti_service.datasets.guard.http import GuardedHTTP
from dti_service.datasets.guard.limits import Limits

NOBODY = AllowList()


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1",
        "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "2001:db8::1", "fc00::1",
        "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "193.52.0.1", "2606:4700::1111", "2a00:1450:4007::1"])
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_calls_private(address: Any) -> None:
    if is_public(address):
        kinds = ("private", "loopback", "link_local", "multicast", "reserved", "unspecified")
        assert not any(getattr(address, f"is_{kind}") for kind in kinds)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://example.org/a.zip", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.org/", "scheme"),
        ("data:image/png;base64,AAAA", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("example.org/a.zip", "scheme"),
        ("//example.org/a.zip", "scheme"),
        ("", "characters"),
        ("http://" + "a" * 5000, "characters"),
        ("http://user:secret@example.org/", "password"),
        ("http://user@example.org/", "password"),
        ("http://exa mple.org/", "spaces"),
        ("http://example.org/\r\nHost: evil", "spaces"),
        ("http:///a.zip", "no host"),
        ("http://example.org:99999/", "out of range"),
        ("http://example.org:22/", "another service"),
        ("http://example.org:25/", "another service"),
        ("http://127.0.0.1/", "no public address"),
        ("http://127.0.0.1./", "no public address"),
        ("http://localhost/", "no public address"),
        ("http://a.localhost/", "no public address"),
        ("http://[::1]/", "no public address"),
        ("http://[::ffff:10.0.0.1]/", "no public address"),
        ("http://169.254.169.254/latest/meta-data", "no public address"),
    ],
)
def test_addresses_that_are_refused_without_looking(text: str, reason: str) -> None:
    with pytest.raises(GuardError, match=reason) as caught:
        check_url(text, NOBODY)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "::1", "localhost"])
def test_other_spellings_of_this_machine_are_refused_when_resolved(host: str) -> None:
    with pytest.raises(GuardError):
        resolve(host, 80, NOBODY)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for candidate in (text, "http://" + text):
        try:
            url = check_url(candidate, NOBODY)
        except GuardError:
            continue
        assert url.scheme in ("http", "https")
        assert url.host
        assert not url.userinfo


def test_allow_list_by_name_port_and_network() -> None:
    allow = AllowList.parse("front.lab, store.lab:8080, 10.1.0.0/16, 192.168.7.7, [::1]:9000")
    assert allow.names("FRONT.lab", 1234)
    assert allow.names("front.lab.", 80)
    assert allow.names("store.lab", 8080)
    assert not allow.names("store.lab", 80)
    assert not allow.names("other.lab", 80)
    assert allow.holds(ipaddress.ip_address("10.1.2.3"))
    assert allow.holds(ipaddress.ip_address("192.168.7.7"))
    assert not allow.holds(ipaddress.ip_address("10.2.0.1"))
    assert allow.names("::1", 9000)
    check_url("http://10.1.2.3/a.zip", allow)
    with pytest.raises(GuardError):
        check_url("http://10.2.2.3/a.zip", allow)


@pytest.mark.parametrize("entry", ["http://a.b/c", "a b", "user@host", "host:port"])
def test_nonsense_in_the_allow_list_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match="DTI_ALLOW_HOSTS"):
        AllowList.parse(entry)


def answers(*addresses: str) -> Any:
    """A resolver that gives these addresses in turn, whatever is asked."""
    remaining = list(addresses)
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host[0].isdigit():
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        asked.append(host)
        address = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    getaddrinfo.asked = asked  # type: ignore[attr-defined]
    return getaddrinfo


def test_name_that_resolves_to_this_machine_is_refused(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1"))
    with (
        GuardedHTTP(NOBODY, Limits()) as http,
        pytest.raises(GuardError, match="no public address"),
        http.request("GET", f"http://innocent.example:{site.port}/", time_s=5),
    ):
        pass
    assert site.requests == []


def test_name_is_resolved_once_and_the_connection_pinned(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a second answer would be another address, but nobody asks again."""
    resolver = answers("127.0.0.1", "127.0.0.2")
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    site.add("/a", b"hello")
    allow = AllowList.parse("127.0.0.1/32")
    with (
        GuardedHTTP(allow, Limits()) as http,
        http.request("GET", f"http://n.example:{site.port}/a", time_s=5) as answer,
    ):
        assert b"".join(answer.body(100, "a")) == b"hello"
    assert resolver.asked == ["n.example"]
    assert site.requests[0][1]["host"] == f"n.example:{site.port}"


def test_only_permitted_ones_of_several_addresses_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in ("10.0.0.1", "8.8.8.8", "8.8.8.8")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert resolve("mixed.example", 80, NOBODY) == ["8.8.8.8"]


def test_certificate_is_checked_against_the_name(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server name that TLS sees is the host's, though the connection was opened to an address."""
    seen: list[str] = []
    wrap = ssl.SSLContext.wrap_socket

    def spy(self: ssl.SSLContext, sock: socket.socket, **options: Any) -> Any:
        seen.append(options["server_hostname"])
        return wrap(self, sock, **options)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", spy)
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1"))
    with (
        GuardedHTTP(AllowList.parse("127.0.0.1"), Limits()) as http,
        pytest.raises(FetchError),
        http.request("GET", f"https://secure.example:{site.port}/", time_s=5),
    ):
        pass
    assert seen == ["secure.example"]


def test_unknown_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FetchError, match=r"nowhere\.example: the host is not known"):
        resolve("nowhere.example", 80, NOBODY)
