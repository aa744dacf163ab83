"""A real server with real finished runs, and a headless Chromium that looks at them.

The runs are made by the library on the digits of scikit-learn, once for all tests of this folder. Every page is
watched: an error in the console or a request to another host fails the test. What a test saw last is kept as a
picture in `test-artifacts/web/`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id
from dti_service.store import Store

TOKEN = "web-tests"
PICTURES = Path("test-artifacts/web")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=30_000)
LAPTOP = {"width": 1440, "height": 900}
TABLET = {"width": 1024, "height": 768}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


# -- runs ---------------------------------------------------------------------------------------------------


def digit_files(folder: Path, count: int = 240) -> Path:
    """Handwritten digits as PNG files in two folders, the way a reader would bring two books."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = np.flatnonzero(digits.target < 5)[:count]
    for number, index in enumerate(chosen):
        book = folder / ("Livre d'heures" if number % 3 else "Ms. 12")
        book.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[index] * 15.9).astype(np.uint8)
        Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC).save(book / f"{number:03d}.png")
    return folder


def colour_images(count: int = 36) -> np.ndarray:
    """(N, 24, 24, 3) uint8 squares in three colours with some noise: a run on them writes JPEG files."""
    random = np.random.default_rng(0)
    colours = np.array([[200, 60, 50], [60, 90, 190], [70, 160, 80]])
    images = np.full((count, 24, 24, 3), 235, np.int64)
    for i in range(count):
        x, y = random.integers(2, 8, 2)
        images[i, y : y + 12, x : x + 12] = colours[i % 3]
    return np.clip(images + random.integers(-12, 12, images.shape), 0, 255).astype(np.uint8)


@dataclass
class Runs:
    """A data directory with finished runs in it."""

    data_dir: Path
    store: Store
    ids: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, state: str = "succeeded", **fields: Any) -> Experiment:
        """An experiment in the store; its results are made by the caller."""
        now = timestamp()
        ended = now if state in ("succeeded", "failed", "cancelled") else None
        values = {
            "notebook": "dti_clustering",
            "created_at": now,
            "queued_at": now,
            "owner": "marie",
            **fields,
        }
        if state != "queued":
            values |= {"started_at": now, "attempt": 1, "assigned_device": "cpu"}
        experiment = Experiment(id=new_id(), name=name, state=state, finished_at=ended, **values)  # type: ignore[arg-type]
        self.store.create(experiment)
        return experiment

    def train(self, key: str, name: str, images: Any, config: dict[str, Any], **fields: Any) -> str:
        """A finished run of the library under the name `name`."""
        from dti_sprites import RunConfig, train

        experiment = self.put(name, parameters={"n_prototypes": config["model"]["n_prototypes"]}, **fields)
        out = self.store.directory(experiment.id) / "results"
        run = train(RunConfig.from_dict(config), images, out=out)
        metrics = json.loads((out / "metrics.json").read_text())
        assert run.metrics["n_images"] == metrics["n_images"]
        self.store.save(dataclasses.replace(self.store.get(experiment.id), metrics=metrics))
        self.ids[key] = experiment.id
        return experiment.id


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Finished runs: `digits` (240 grey images, 6 clusters), `eight` (the same images in 8 clusters), `colours`
    (36 colour images as JPEG, 4 clusters)."""
    root = tmp_path_factory.mktemp("web")
    data_dir = root / "data"
    runs = Runs(data_dir, Store(data_dir))
    training = {"epochs": 3, "batch_size": 32, "lr": 1e-3, "seed": 1, "device": "cpu", "threads": 1}
    model = {"n_prototypes": 6, "transformation_sequence": "identity_affine", "encoder": "resnet20"}
    folder = digit_files(root / "digits")
    grey = {"data": {"image_size": 16}, "model": model, "training": {**training, "curriculum": [1]}}
    runs.train("digits", "Digits of two books", folder, grey, tags=["digits"], dataset=str(folder))
    eight = {**grey, "model": {**model, "n_prototypes": 8}, "training": {**training, "epochs": 1, "seed": 5}}
    runs.train("eight", "Eight motifs", folder, eight, dataset=str(folder))
    colour = {
        "data": {"image_size": 24},
        "model": {**model, "n_prototypes": 4, "transformation_sequence": "identity"},
        "training": training,
        "results": {"image_format": "jpeg", "report": False, "animation": False},
    }
    runs.train("colours", "Coloured squares", colour_images(), colour)
    runs.put(
        "Coins, a failure",
        "failed",
        error={"kind": "bad_input", "message": "3 files are no images", "cell": 2},
    )
    runs.put("Seals, given up", "cancelled")
    runs.store.index.close()
    return runs


# -- server ---------------------------------------------------------------------------------------------------


@dataclass
class Server:
    url: str  # of the page
    api: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def start_again(self) -> None:
        """After `stop`: a new process at the same address, over the same data."""
        again = start_server(self.data_dir.parent, self.data_dir, int(self.url.split(":")[2].split("/")[0]))
        self.process = again.process

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """A request with the token, past the browser."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data=data, method=method, headers=headers or {})
        request.add_header("Authorization", f"token {TOKEN}")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(root: Path, data_dir: Path, port: int | None = None) -> Server:
    """`jupyter server` with the extension below a base URL, on this machine's own address only."""
    port = port or free_port()
    home = {
        name: str(root / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "HOME")
    }
    options = [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.allow_root=True",
        "--ServerApp.base_url=/a%40b/",
        "--ServerApp.jpserver_extensions=dti_service=True",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={TOKEN}",
        f"--DTIServiceApp.data_dir={data_dir}",
        "--DTIServiceApp.devices=cpu",
        "--no-browser",
    ]
    log = (root / "server.log").open("ab")
    # Libraries of tests are on this machine, where others would not be asked.
    here = {"OMP_NUM_THREADS": "1", "DTI_DATASET_ROOTS": str(root), "DTI_ALLOW_HOSTS": "127.0.0.1"}
    environment = {**os.environ, **home, **here}
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "server", *options],
        cwd=root,
        env=environment,
        stdout=log,
        stderr=log,
    )
    base = f"http://127.0.0.1:{port}/a%40b/dti/"
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(base + "api/health", timeout=5):
                return Server(base, base + "api/", data_dir, process)
        except OSError:
            text = (root / "server.log").read_text(errors="replace")[:6000]
            assert process.poll() is None, text
            assert time.monotonic() < end, text
            time.sleep(0.2)


@pytest.fixture(scope="package")
def server(runs: Runs) -> Iterator[Server]:
    server = start_server(runs.data_dir.parent, runs.data_dir)
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of one test's own, with 60 digits in `digits` beside its data: that test may stop and start it."""
    digit_files(tmp_path / "digits", 60)
    server = start_server(tmp_path, tmp_path / "data")
    yield server
    server.stop()


@pytest.fixture(scope="package")
def few_digits(server: Server, runs: Runs) -> str:
    """24 digits as a dataset of the server; its id."""
    from dti_service import Client

    files = sorted((runs.data_dir.parent / "digits").rglob("*.png"))[:24]
    with Client(server.url.removesuffix("dti/"), TOKEN) as client:
        id: str = client.upload(files, name="A few digits")["id"]
    return id


# -- browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watch:
    """What a page must not do. A test that provokes an error names it in `expected`."""

    host: str
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def look_at(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"{error}\n{error.stack}"))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text} {message.location.get('url', '')}")

    def _request(self, url: str) -> None:
        if not url.startswith((self.host, "data:", "blob:", "about:")):
            self.problems.append(f"request to another host: {url}")

    def verdict(self) -> list[str]:
        return [one for one in self.problems if not any(re.search(known, one) for known in self.expected)]


# Counts presses of the pointer as a person would: a drag is one.
COUNT_CLICKS = "addEventListener('pointerdown', () => { window.clicks = (window.clicks ?? 0) + 1; }, true);"

Open = Callable[..., Page]


@pytest.fixture
def watch(server: Server) -> Watch:
    return Watch(server.url.split("/a%40b")[0])


@pytest.fixture
def contexts(browser: Browser, server: Server, watch: Watch) -> Iterator[Callable[..., BrowserContext]]:
    """Makes logged-in browser windows, each with storage of its own."""
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        options = {"viewport": LAPTOP, "locale": "en-GB", "color_scheme": "light", **options}
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        context.add_init_script(COUNT_CLICKS)
        context.request.get(f"{server.url}?token={TOKEN}")
        context.on("page", watch.look_at)
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()


@pytest.fixture
def open_page(
    contexts: Callable[..., BrowserContext], server: Server, watch: Watch, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """`open_page("#/new", viewport=TABLET)`. At the end: a picture, and no trouble seen."""
    pages: list[Page] = []

    def open_(address: str = "", context: BrowserContext | None = None, **options: Any) -> Page:
        page = (context or contexts(**options)).new_page()
        pages.append(page)
        page.goto(server.url + address)
        return page

    yield open_
    PICTURES.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    for number, page in enumerate(page for page in pages if not page.is_closed()):
        page.screenshot(path=PICTURES / f"{name}{f'-{number}' if number else ''}.png")
    assert watch.verdict() == []


@pytest.fixture(scope="package")
def modules(browser: Browser, server: Server) -> Iterator[Callable[[str], Any]]:
    """`modules(body)` runs a JavaScript body in a page of the server; `load(name)` in it imports a module."""
    context = browser.new_context()
    context.request.get(f"{server.url}?token={TOKEN}")
    page = context.new_page()
    page.goto(server.url)

    def run(body: str) -> Any:
        return page.evaluate(
            f"async () => {{ const load = (name) => import(`./static/${{name}}.js`); {body} }}"
        )

    yield run
    context.close()


@pytest.fixture
def open_result(open_page: Open, runs: Runs, eyes: Eyes) -> Open:
    """The page of a finished run, when its first images are there."""

    def open_(key: str = "digits", tail: str = "", **options: Any) -> Page:
        page = open_page(f"#/e/{runs.ids.get(key, key)}{tail}", **options)
        eyes.images(page)
        return page

    return open_


@pytest.fixture
def fresh(runs: Runs, server: Server) -> Iterator[str]:
    """The digits, without readings before and after: for tests that curate."""

    def clear() -> None:
        path = f"experiments/{runs.ids['digits']}/curations"
        for item in server.call("GET", path)["items"]:
            server.call("DELETE", f"{path}/{item['name']}")

    clear()
    yield "digits"
    clear()


class Eyes:
    """What tests wait for and count."""

    @staticmethod
    def until(page: Page, condition: str, timeout_s: float = 30) -> None:
        """Wait until a JavaScript expression is true. (The page's policy forbids what the driver would use.)"""
        end = time.monotonic() + timeout_s
        while not page.evaluate(f"() => Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            page.wait_for_timeout(50)

    @staticmethod
    def becomes(page: Page, look: Callable[[], Any], wanted: Any, timeout_s: float = 30) -> None:
        """Wait until `look()` gives what is wanted."""
        end = time.monotonic() + timeout_s
        while (found := look()) != wanted:
            assert time.monotonic() < end, f"{found} never became {wanted}"
            page.wait_for_timeout(50)

    @classmethod
    def images(cls, page: Page, count: int = 8, timeout_s: float = 30) -> None:
        """Wait until so many images of clusters are drawn."""
        drawn = (
            "[...document.querySelectorAll('.tile img')].filter(i => i.complete && i.naturalWidth > 0).length"
        )
        cls.until(page, f"{drawn} >= {count}", timeout_s)

    @classmethod
    def saved(cls, page: Page) -> None:
        """Wait until what was done has reached the server.

        A dialog's answer arrives in a task after the click, so what it does has begun only some frames later.
        """
        page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )
        cls.until(page, "document.querySelector('.save-state').dataset.status === 'saved'")

    @classmethod
    def moved(cls, page: Page, before: dict[str, int]) -> dict[str, int]:
        """The clusters, once they are not those of `before`: which is second best may have to be read first."""
        end = time.monotonic() + 30
        while (now := cls.clusters(page)) == before:
            assert time.monotonic() < end, "nothing was moved"
            page.wait_for_timeout(50)
        return now

    @staticmethod
    def clicks(page: Page) -> int:
        """Presses of the pointer since the last call."""
        return int(page.evaluate("() => { const n = window.clicks ?? 0; window.clicks = 0; return n; }"))

    @staticmethod
    def clusters(page: Page) -> dict[str, int]:
        """Names and sizes of all clusters, as the column at the left has them."""
        labels = page.locator(".rail-item").evaluate_all(
            "items => items.map(item => item.getAttribute('aria-label'))"
        )
        found = (re.fullmatch(r"(.*), ([\d,]+) images, [^,]*", label) for label in labels)
        return {match[1]: int(match[2].replace(",", "")) for match in found if match}


@pytest.fixture
def eyes() -> Eyes:
    return Eyes()
