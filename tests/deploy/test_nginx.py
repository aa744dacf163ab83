"""deploy/nginx/dti.conf in a real nginx, before a real server: only ports, paths and the certificate are our own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy" / "nginx" / "dti.conf"
MEBIBYTE = 2**20


def certificate(folder: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run(
        [*command, *files, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True
    )


@dataclass
class Site:
    """The server as seen through nginx."""

    url: str
    plain_url: str
    server: Any
    context: ssl.SSLContext

    def open(
        self, path: str, *, url: str | None = None, method: str = "GET", data: Any = None, **headers: str
    ) -> Any:
        request = urllib.request.Request((url or self.url) + path, method=method, data=data)
        request.add_header("Authorization", f"token {self.server.token}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        return urllib.request.urlopen(request, timeout=60, context=self.context)


def configuration(folder: Path, server: Any, ports: tuple[int, int]) -> str:
    """The file as it is, on our ports and paths; every change must find its place."""
    text = CONFIGURATION.read_text()
    changes = [
        (r"server 127\.0\.0\.1:8888;", f"server {server.url.removeprefix('http://')};"),
        (r"listen 80;", f"listen 127.0.0.1:{ports[0]};"),
        (r"listen 443 ssl http2;", f"listen 127.0.0.1:{ports[1]} ssl http2;"),
        (r"/etc/ssl/dti/", f"{folder}/"),
        (r"alias /var/lib/dti/;", f"alias {server.data_dir}/;"),
        (r"client_max_body_size 2100m;", "client_max_body_size 8m;"),
    ]
    for pattern, replacement in changes:
        text, found = re.subn(pattern, replacement, text)
        assert found, pattern
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/tmp-{kind};\n" for kind in kinds)
    access = f"access_log {folder}/access.log;\n"
    return (
        f"daemon off; pid {folder}/nginx.pid; worker_processes 1; error_log stderr;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\n{paths}{access}{text}}}\n"
    )


@pytest.fixture(scope="module")
def nginx() -> str:
    path = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if path is None:
        reason = "nginx is not installed (Debian's nginx-light)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def site(
    nginx: str, installed: Any, serve: Any, own: Callable[[str], Path], free_ports: Any
) -> Iterator[Site]:
    ports = free_ports(2)
    folder = own("nginx")
    certificate(folder)
    public = f"https://localhost:{ports[1]}/"
    server = serve(env={"DTI_X_ACCEL": "/_dti_files", "DTI_PUBLIC_URL": public})
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, server, ports))
    installed.account.give(folder)
    checked = installed.run(nginx, "-e", "stderr", "-p", folder, "-c", file, "-t", check=False)
    assert checked.returncode == 0, checked.stderr
    log = folder / "error.log"
    with log.open("w") as output:
        process = installed.popen(
            nginx, "-e", "stderr", "-p", folder, "-c", file, stdout=output, stderr=subprocess.STDOUT
        )
    context = ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
    context.check_hostname = False
    site = Site(f"https://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[0]}", server, context)
    end = time.monotonic() + 20
    while True:
        try:
            with site.open("/dti/api/health"):
                break
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
    yield site
    process.terminate()
    process.wait(20)


def submit(site: Site, **parameters: Any) -> str:
    body = json.dumps({"notebook": "tiny", "parameters": parameters}).encode()
    with site.open(
        "/dti/api/experiments", method="POST", data=body, Content_Type="application/json"
    ) as answer:
        return json.loads(answer.read())["id"]


def upload(site: Site, size: int) -> Any:
    """A CSV of that size, as multipart/form-data; refused by the service for its content, not its size."""
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'.encode()
    body = head + b"x" * size + f"\r\n--{edge}--\r\n".encode()
    kind = f"multipart/form-data; boundary={edge}"
    return site.open("/dti/api/datasets", method="POST", data=body, Content_Type=kind)


def refusal(action: Callable[[], Any]) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        action()
    return caught.value.code


async def kernel_answers(site: Site, kernel: str) -> bool:
    """Does a kernel's websocket carry a request and its answer?"""
    url = f"wss{site.url.removeprefix('https')}/api/kernels/{kernel}/channels"
    headers = {"Authorization": f"token {site.server.token}"}
    connection = await websocket_connect(HTTPRequest(url, headers=headers, ssl_options=site.context))
    header = {
        "msg_id": "1",
        "msg_type": "kernel_info_request",
        "username": "",
        "session": "1",
        "version": "5.3",
    }
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "channel": "shell"}
    await connection.write_message(json.dumps(message))
    while True:
        answer = await asyncio.wait_for(connection.read_message(), 60)
        if answer is None:
            return False
        if isinstance(answer, str) and json.loads(answer)["header"]["msg_type"] == "kernel_info_reply":
            connection.close()
            return True


@pytest.mark.slow
def test_everything_goes_through_nginx(site: Site) -> None:
    id = submit(site, steps=40, pause=0.1, megabytes=3)

    # Events arrive while the experiment runs, and not when some buffer is full.
    with site.open(f"/dti/api/experiments/{id}/events", Accept="text/event-stream") as stream:
        kinds = set()
        for line in stream:
            if line.startswith(b"event: "):
                kinds.add(line.split()[1].decode())
            if "progress" in kinds:
                break
        with site.open(f"/dti/api/experiments/{id}") as answer:
            assert json.loads(answer.read())["state"] == "running"

    # Websockets of kernels.
    with site.open("/api/kernels", method="POST", data=b"{}", Content_Type="application/json") as answer:
        kernel = json.loads(answer.read())["id"]
    assert asyncio.run(kernel_answers(site, kernel))
    site.open(f"/api/kernels/{kernel}", method="DELETE").close()

    # Uploads above nginx's usual megabyte reach the service; what is above the limit does not.
    code = refusal(lambda: upload(site, 3 * MEBIBYTE))
    assert code in (400, 415, 422), code
    assert refusal(lambda: upload(site, 9 * MEBIBYTE)) == 413

    # https is where plain http leads to; the links of the service are those of outside.
    request = urllib.request.Request(f"{site.plain_url}/dti/?a=1", method="HEAD")
    opener = urllib.request.build_opener(_Stay)
    assert opener.open(request).headers["Location"].startswith("https://127.0.0.1/dti/?a=1")

    assert site.server.finished(id)["state"] == "succeeded"
    downloads(site, id)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Does not follow."""

    def http_error_301(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return fp


def downloads(site: Site, id: str) -> None:
    """Files: allowed by the server, sent by nginx, whole and in part, with the policy that keeps pages harmless."""
    path = f"/dti/api/experiments/{id}/artifacts/big.bin"
    with site.open(path, url=site.server.url) as direct:
        assert direct.headers["X-Accel-Redirect"] == f"/_dti_files/experiments/{id}/results/big.bin"
        assert direct.read() == b""
    with site.open(path) as answer:
        content = answer.read()
        etag = answer.headers["ETag"]
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("inline")
        assert "X-Accel-Redirect" not in answer.headers
    assert content == bytes(range(256)) * (4096 * 3)
    with site.open(path, Range="bytes=256-511") as part:
        assert part.status == 206
        assert part.read() == bytes(range(256))
    assert refusal(lambda: site.open(path, If_None_Match=etag)) == 304

    page = site.server.data_dir / "experiments" / id / "results" / "page of ö.html"
    page.write_text("<script>alert(1)</script>")
    with site.open(f"/dti/api/experiments/{id}/artifacts/page%20of%20%C3%B6.html") as answer:
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert b"alert" in answer.read()

    # What is no plain file is made and sent by the server; the files themselves are nobody's to ask for.
    with site.open(f"/dti/api/experiments/{id}/results.zip") as answer:
        assert answer.read(2) == b"PK"
    assert refusal(lambda: site.open(f"/_dti_files/experiments/{id}/results/big.bin")) == 404
    request = urllib.request.Request(site.url + path)
    assert refusal(lambda: urllib.request.urlopen(request, context=site.context)) == 403
