"""docs/api.md: its list of routes is that of openapi.yaml, and what it shows is what happens."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
DOCUMENT = yaml.safe_load((ROOT / "dti_service" / "openapi.yaml").read_text(encoding="utf-8"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("api_guide", ROOT / "tools" / "api_guide.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `images/` and `path/to/images/`."""
    for name in ("images", "path/to/images"):
        (tmp_path / name).mkdir(parents=True)
    for i, name in enumerate(("one", "two", "three", "four", "five", "six")):
        picture = Image.new("L", (16, 16), 40 * i)
        picture.save(tmp_path / "path/to/images" / f"{name}.png")
        if i < 2:
            picture.save(tmp_path / "images" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def access(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables = {"DTI_URL": live_server.url.rstrip("/"), "DTI_TOKEN": live_server.token}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_the_routes_are_rendered_from_the_document(tool: Any) -> None:
    assert tool.updated(GUIDE, DOCUMENT) == GUIDE, "run python tools/api_guide.py"
    changed = {
        **DOCUMENT,
        "paths": {**DOCUMENT["paths"], "/dti/api/new": DOCUMENT["paths"]["/dti/api/queue"]},
    }
    assert "`GET /dti/api/new`" in tool.updated(GUIDE, changed)
    for path, item in DOCUMENT["paths"].items():
        for verb in item.keys() & {"get", "post", "put", "patch", "delete"}:
            assert f"`{verb.upper()} {path}`" in GUIDE


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    wanted = set(re.findall(r"\]\(#([^)]*)\)", GUIDE))
    assert wanted <= anchors


def test_curl_examples(folder: Path, access: dict[str, str]) -> None:
    # `tiny` is a notebook of the tests that takes a second.
    script = "\n".join(blocks("bash")).replace('"notebook": "dti_clustering"', '"notebook": "tiny"')
    assert script.count("curl ") >= 8
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, cwd=folder, timeout=120
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "event: end" in done.stdout
    assert '"state":"succeeded"' in done.stdout
    assert done.stdout.count('"state":"ready"') == 2  # two ways to send images
    assert "How many motifs to look for" in done.stdout
    assert "prototypes/note.txt" in " ".join(zipfile.ZipFile(folder / "results.zip").namelist())


def test_python_example(folder: Path, access: dict[str, str]) -> None:
    (example,) = blocks("python")
    quick = example.replace('{"n_prototypes": 10}', '{"n_prototypes": 2, "epochs": 1, "image_size": 16}')
    assert quick != example
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(quick, "docs/api.md", "exec"), {})
    assert "loss" in output.getvalue()
    assert "cluster_by_path.csv" in " ".join(zipfile.ZipFile(folder / "results.zip").namelist())


@pytest.mark.browser
def test_javascript_example(access: dict[str, str], chromium: str) -> None:
    (example,) = blocks("javascript")
    code = example.replace("'dti_clustering'", "'tiny'")
    # In a page of the server's own, with what Node would give.
    given = "const process = { env }, said = [], console = { log: (...all) => said.push(all) };"
    body = f"async (env) => {{ {given}\n{code}\nreturn said; }}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(f"{access['DTI_URL']}/dti/?token={access['DTI_TOKEN']}")
            said = page.evaluate(body, access)
        finally:
            browser.close()
    assert said[0][0] == "succeeded", json.dumps(said)
    assert said[0][1]["k"] == 10
