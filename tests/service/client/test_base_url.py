"""Below a base URL, as JupyterHub and proxies put it: every address that the server gives leads back to it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest

from dti_service import Client
from dti_service.new_demo import write_demo


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, live_server_factory: Callable[..., Any]) -> Any:
    """A server for one user of a hub, with the demo that `dti new-demo` writes."""
    folder = tmp_path_factory.mktemp("hub")
    package = write_demo("mean_of_a_hub", folder)
    server = live_server_factory(
        folder,
        "--ServerApp.base_url=/user/ada@lab/",
        "--DTIServiceApp.installed_demos=mean_of_a_hub",
        environment={"PYTHONPATH": str(package)},
    )
    server.url += "user/ada@lab/"
    server.start()
    return server


def test_all_addresses_stay_below_the_base(server: Any) -> None:
    origin = f"http://127.0.0.1:{server.port}"

    def get(path: str) -> tuple[bytes, str]:
        request = urllib.request.Request(origin + path, headers={"Authorization": f"token {server.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read(), answer.headers["Content-Type"]

    with Client(server.url, server.token) as client:
        ended = client.wait(client.submit("mean_of_a_hub", {"image_size": 8})["id"], poll_s=0.2)
        assert ended["state"] == "succeeded", ended["error"]
        assert any(event["kind"] == "state" for event in client.events(ended["id"]))
    for name, link in ended["links"].items():
        assert link.startswith("/user/ada@lab/dti/"), (name, link)
        if name not in ("events", "report_html"):
            get(link)
    assert "mean_of_a_hub" in ended["links"]["view"]
    for path in ("/user/ada@lab/dti/", ended["links"]["view"]):
        page = get(path)[0].decode()
        addresses = re.findall(r'(?:href|src|data-\w+)="([^"]*)"', page)
        assert addresses
        for address in addresses:
            assert not address.startswith("/") or address.startswith("/user/ada@lab/"), address
            if address.endswith((".js", ".css")):
                get(urljoin(origin + path, address).removeprefix(origin))
    assert json.loads(get("/user/ada@lab/clustering/qsizes")[0])
    summary = f"/user/ada@lab/dti/demos/mean_of_a_hub/{ended['id']}/summary"
    assert json.loads(get(summary)[0])["metrics"]["n_images"] == 1797
    for outside in ("/dti/api/experiments", "/clustering/qsizes"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(outside)
        assert refused.value.code == 404
