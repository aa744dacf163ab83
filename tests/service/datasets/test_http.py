"""Requests to servers that redirect, stall, lie and break off."""

from __future__ import annotations

import dataclasses
import gzip
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dti_service.datasets.fetch import Fetcher, Kind
from dti_service.datasets.guard.addresses import AllowList
from dti_service.datasets.guard.errors import FetchError, GuardError, PreparationStopped
from dti_service.datasets.guard.http import GuardedHTTP
from dti_service.datasets.guard.limits import Limits

KIND = Kind(limit=100_000, time_s=5.0)


@pytest.fixture
def fetcher(tmp_path: Any, limits: Limits) -> Iterator[Fetcher]:
    with GuardedHTTP(AllowList.parse("127.0.0.1"), limits) as http:
        yield Fetcher(tmp_path / "downloads", http, sleep=lambda seconds: None)


def again(fetcher: Fetcher, **options: Any) -> Fetcher:
    """Another preparation with the same folder."""
    return Fetcher(fetcher.folder, fetcher._http, sleep=lambda seconds: None, **options)


def names(fetcher: Fetcher) -> list[str]:
    return sorted(path.suffix for path in fetcher.folder.glob("*"))


def redirect(target: str, status: int = 302) -> Any:
    def page(request: Any) -> None:
        request.send_response(status)
        request.send_header("Location", target)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return page


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/secret",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "file:///etc/passwd",
        "http://user:pw@127.0.0.1/",
        "gopher://127.0.0.1:70/",
        "http://localhost:22/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://\x00/",
        "https://" + "a" * 5000,
    ],
)
@pytest.mark.parametrize("status", [301, 307])
def test_redirect_to_a_forbidden_place(site: Any, fetcher: Fetcher, target: str, status: int) -> None:
    site.pages["/a"] = redirect(target, status)
    with pytest.raises(GuardError):
        fetcher.fetch(site.url + "/a", KIND)
    assert names(fetcher) == []


def test_redirects_are_followed_and_counted(site: Any, fetcher: Fetcher) -> None:
    site.add("/end", b"here")
    site.pages["/a"] = redirect("/b")
    site.pages["/b"] = redirect(site.url + "/end", 308)
    note = fetcher.fetch(site.url + "/a", KIND)
    assert fetcher.path(note.url).read_bytes() == b"here"
    site.pages["/loop"] = redirect("/loop")
    with pytest.raises(FetchError, match="redirects"):
        fetcher.fetch(site.url + "/loop", KIND)


def test_body_that_is_announced_too_large(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"", headers={"X": "y"})
    site.pages["/a"].body = bytes(KIND.limit + 1)
    with pytest.raises(GuardError, match="larger than"):
        fetcher.fetch(url, KIND)
    assert names(fetcher) == []


def endless(request: Any) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b"%x\r\n%s\r\n" % (10_000, bytes(10_000)))


def test_body_without_end(site: Any, fetcher: Fetcher) -> None:
    site.pages["/a"] = endless
    with pytest.raises(GuardError, match="larger than"):
        fetcher.fetch(site.url + "/a", KIND)
    assert names(fetcher) == []


def test_packed_body_is_counted_unpacked(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(GuardError, match="larger than"):
        fetcher.fetch(url, KIND)
    url = site.add("/b", gzip.compress(b"small"), headers={"Content-Encoding": "gzip"})
    fetcher.fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == b"small"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("br", b"abc"), ("gzip", b"no gzip"), ("gzip", gzip.compress(b"x" * 9999)[:-20]), ("zstd", b"")],
)
def test_packing_that_cannot_be_undone(site: Any, fetcher: Fetcher, encoding: str, body: bytes) -> None:
    url = site.add("/a", body, headers={"Content-Encoding": encoding})
    with pytest.raises(FetchError):
        fetcher.fetch(url, KIND)
    assert names(fetcher) == []


@pytest.mark.parametrize(
    ("status", "tries", "remedy"),
    [(404, 1, "nothing behind"), (403, 1, "public"), (500, 2, "later"), (429, 2, "later")],
)
def test_refusal_of_the_server(site: Any, fetcher: Fetcher, status: int, tries: int, remedy: str) -> None:
    url = site.add("/a", b"", status=status)
    with pytest.raises(FetchError, match=remedy) as caught:
        fetcher.fetch(url, KIND)
    assert caught.value.answer == status
    assert len(site.requests) == tries
    assert names(fetcher) == []


def test_web_page_instead_of_the_file(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a.zip", b"<html>please log in</html>", "text/html; charset=utf-8")
    with pytest.raises(FetchError, match="web page"):
        fetcher.fetch(url, KIND)
    assert names(fetcher) == []


def test_nobody_listens(fetcher: Fetcher, site: Any) -> None:
    site.close()
    with pytest.raises(FetchError, match="cannot be reached"):
        fetcher.fetch(site.url + "/a", KIND)
    assert names(fetcher) == []


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"\0" * 99, b""]
)
def test_server_that_does_not_speak_http(site: Any, fetcher: Fetcher, answer: bytes) -> None:
    def page(request: Any) -> None:
        request.wfile.write(answer)
        request.close_connection = True

    site.pages["/a"] = page
    with pytest.raises(FetchError):
        fetcher.fetch(site.url + "/a", KIND)
    assert names(fetcher) == []


def test_header_without_end(site: Any, fetcher: Fetcher) -> None:
    def page(request: Any) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10_000):
            request.wfile.write(b"X-%d: %s\r\n" % (number, b"y" * 1000))

    site.pages["/a"] = page
    with pytest.raises(FetchError):
        fetcher.fetch(site.url + "/a", KIND)


# -- slowness ----------------------------------------------------------------------------------------------------


def test_silent_server(site: Any, fetcher: Fetcher) -> None:
    site.pages["/a"] = lambda request: time.sleep(3)
    with pytest.raises(FetchError, match="too slow"):
        fetcher.fetch(site.url + "/a", Kind(1000, 0.3))


@pytest.mark.parametrize("part", ["head", "body"])
def test_dripping_server_meets_the_deadline(site: Any, fetcher: Fetcher, part: str) -> None:
    """Each byte arrives in time, the whole never would."""

    def page(request: Any) -> None:
        if part == "body":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(60):
            request.wfile.write(b"H")
            request.wfile.flush()
            time.sleep(0.05)

    site.pages["/a"] = page
    with pytest.raises(FetchError, match="too slow"):
        fetcher.fetch(site.url + "/a", Kind(10_000, 0.4))


# -- resuming and asking again -------------------------------------------------------------------------------------


def test_download_goes_on_where_it_broke_off(site: Any, fetcher: Fetcher) -> None:
    body = bytes(range(256)) * 300
    url = site.add("/a", body, etag='"one"', cut_after=50_000)
    note = fetcher.fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == body
    assert note.size == len(body)
    second = site.requests[1][1]
    assert int(second["range"].removeprefix("bytes=").rstrip("-")) > 0
    assert second["if-range"] == '"one"'
    assert names(fetcher) == [".body", ".json"]


def test_part_survives_for_the_next_preparation(site: Any, fetcher: Fetcher) -> None:
    body = bytes(80_000)
    url = site.add("/a", body, modified="Mon, 01 Jan 2024 00:00:00 GMT", cut_after=30_000, times=2)
    fetcher.limits = fetcher._http.limits = dataclasses.replace(fetcher.limits, attempts=1)
    with pytest.raises(FetchError, match="broke off"):
        fetcher.fetch(url, KIND)
    assert names(fetcher) == [".json", ".part"]
    assert not fetcher.path(url).exists()
    site.pages["/a"].times = 0
    again(fetcher).fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == body
    assert "range" in site.requests[-1][1]


def test_part_of_a_file_that_changed_is_thrown_away(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"A" * 80_000, etag='"one"', cut_after=30_000)
    fetcher.limits = fetcher._http.limits = dataclasses.replace(fetcher.limits, attempts=1)
    with pytest.raises(FetchError):
        fetcher.fetch(url, KIND)
    site.add("/a", b"B" * 70_000, etag='"two"')
    again(fetcher).fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == b"B" * 70_000


def test_part_without_a_validator_is_not_continued(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"A" * 80_000, cut_after=30_000, times=9)
    with pytest.raises(FetchError):
        fetcher.fetch(url, KIND)
    assert all("range" not in headers for _, headers in site.requests)
    assert names(fetcher) == []


def test_weak_validator_does_not_prove_a_part(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"A" * 80_000, etag='W/"one"', cut_after=30_000)
    fetcher.fetch(url, KIND)
    assert "range" not in site.requests[1][1]
    assert fetcher.path(url).read_bytes() == b"A" * 80_000


def test_server_that_sends_another_part(site: Any, fetcher: Fetcher) -> None:
    body = bytes(range(200)) * 400
    url = site.add("/a", body, etag='"one"', cut_after=30_000, headers={})
    first = site.pages["/a"]

    def page(request: Any) -> None:
        if not request.headers.get("Range"):
            first(request)
            return
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 5-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(body) - 5))
        request.end_headers()
        request.wfile.write(body[5:])

    site.pages["/a"] = page
    fetcher.limits = fetcher._http.limits = dataclasses.replace(fetcher.limits, attempts=3)
    fetcher.fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == body


def test_unchanged_file_is_not_sent_again(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"content", etag='"one"')
    first = fetcher.fetch(url, KIND)
    assert fetcher.fetch(url, KIND) == first
    assert len(site.requests) == 1
    second = again(fetcher).fetch(url, KIND)
    assert site.requests[1][1]["if-none-match"] == '"one"'
    assert second.sha256 == first.sha256


def test_changed_file_behind_the_same_address_is_noticed(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"old", etag='"one"')
    first = fetcher.fetch(url, KIND)
    site.add("/a", b"new", etag='"two"')
    second = again(fetcher).fetch(url, KIND)
    assert second.sha256 != first.sha256
    assert fetcher.path(url).read_bytes() == b"new"


def test_change_is_noticed_without_any_validator(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"old")
    first = fetcher.fetch(url, KIND)
    site.add("/a", b"new")
    assert again(fetcher).fetch(url, KIND).sha256 != first.sha256


def test_image_of_a_service_without_validators_is_trusted_for_a_while(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"pixels")
    fetcher.fetch(url, KIND)
    again(fetcher).fetch(url, dataclasses.replace(KIND, trusted_age_s=3600.0))
    assert len(site.requests) == 1
    again(fetcher).fetch(url, dataclasses.replace(KIND, trusted_age_s=0.0))
    assert len(site.requests) == 2


def test_body_that_was_released_or_lost_is_read_again(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", b"content", etag='"one"')
    first = fetcher.fetch(url, KIND)
    fetcher.release(url)
    assert again(fetcher).fetch(url, KIND, body=False) == dataclasses.replace(
        first, checked_at=pytest.approx(time.time(), abs=9)
    )
    assert not fetcher.path(url).exists()
    again(fetcher).fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == b"content"
    fetcher.path(url).write_bytes(b"cont")
    again(fetcher).fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == b"content"


def test_stop_keeps_what_came(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", bytes(90_000), etag='"one"', cut_after=40_000)
    calls = iter([False, False, True, True, True])
    with pytest.raises(PreparationStopped):
        again(fetcher, should_stop=lambda: next(calls)).fetch(url, KIND)
    again(fetcher).fetch(url, KIND)
    assert fetcher.path(url).read_bytes() == bytes(90_000)


def test_progress_counts_bytes(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", bytes(90_000))
    seen: list[Any] = []
    fetcher.fetch(url, KIND, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (90_000, 90_000)
    assert seen == sorted(seen)


def test_nearly_full_disk_is_said_before_it_is_full(site: Any, fetcher: Fetcher) -> None:
    url = site.add("/a", bytes(1000))
    fetcher.limits = dataclasses.replace(fetcher.limits, reserve_bytes=1 << 60)
    with pytest.raises(GuardError, match="no room on the disk"):
        fetcher.fetch(url, KIND)
    assert names(fetcher) == []


def test_request_with_a_body_reaches_the_server(site: Any, fetcher: Fetcher) -> None:
    got: list[bytes] = []

    def page(request: Any) -> None:
        got.append(request.rfile.read(int(request.headers["Content-Length"])))
        request.send_response(204)
        request.end_headers()

    site.pages["/hook"] = page
    with fetcher._http.request(
        "POST", site.url + "/hook", content=b'{"a": 1}', time_s=5, follow=False
    ) as answer:
        assert answer.status == 204
    assert got == [b'{"a": 1}']
