"""How quick the page is with many images in a run and many runs in the list, on this machine's own address.

    python tests/load/viewer_speed.py [--images 10000] [--clusters 50] [--actions 1200] [--experiments 10000]

Makes a result of so many small pictures (the first cluster holds a third of them), serves it with a real server, and
looks at it with headless Chromium. Prints a table: the time to the first pictures, cold and with thumbnails made, in a
window that has been open for a second and in one that is opened at that moment (Chromium then starts processes of its
own beside the page), bytes of the thumbnails, times between frames while scrolling for the first time (the server
makes thumbnails on the same processors) and again, script time of selecting, moving and undoing in the largest
cluster, memory while a person's hour of work (one action each three seconds) is gone through, and times between frames
while scrolling in a list of so many experiments.

Where the processors are busy with something else, that is what is measured. As root, `chrt --rr 1` before the command
keeps it out of the figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from many import fill
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id
from dti_service.store import Store

SIDE = 64
SHAPES = 400  # different pictures; more would only take longer to write
VISIBLE = 12
AT_REST = 1000  # milliseconds that a new window is left alone

# Notes when pictures of the clusters are on the screen: at the frame after their loading.
NOTE_PAINTS = """
window.painted = [];
document.addEventListener('load', (event) => {
  if (event.target.matches?.('.tile img')) requestAnimationFrame(() => window.painted.push(performance.now()));
}, true);
"""
SCROLL = """([selector, pixels]) => new Promise((done) => {
  const view = document.querySelector(selector);
  const times = []; let last = null; let left = 300;
  const step = (now) => {
    if (last !== null) times.push(now - last);
    last = now; view.scrollTop += pixels; left -= 1;
    if (left) requestAnimationFrame(step); else done(times);
  };
  requestAnimationFrame(step);
})"""
IMAGES, LIST = ".main-pane .cluster-view", ".list-scroll"
ACT = """([selector, key, options]) => {
  const target = document.querySelector(selector);
  target.focus({ preventScroll: true });
  const start = performance.now();
  if (key === 'click') target.click();
  else target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...options }));
  return performance.now() - start;
}"""


def make_result(data_dir: Path, n: int, k: int) -> str:
    """An experiment with `n` pictures in `k` clusters, written as a run writes it."""
    store, random = Store(data_dir), np.random.default_rng(0)
    now = timestamp()
    facts = {"created_at": now, "queued_at": now, "started_at": now, "finished_at": now, "attempt": 1}
    experiment = Experiment(
        id=new_id(),
        name=f"{n} images",
        state="succeeded",
        notebook="dti_clustering",
        owner="speed",
        metrics={"n_images": n, "n_prototypes": k},
        **facts,  # type: ignore[arg-type]
    )
    store.create(experiment)
    results = store.directory(experiment.id) / "results"
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE

    def picture() -> bytes:
        a, b, c, d = random.uniform(2, 14, 4)
        base = 128 + 60 * np.sin(a * x + b * y) * np.cos(c * x - d * y)
        noisy = base[..., None] * random.uniform(0.6, 1.0, 3) + random.normal(0, 10, (SIDE, SIDE, 3))
        path = results / "picture.png"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, compress_level=1)
        return path.read_bytes()

    (results / "prototypes").mkdir(parents=True)
    shapes = [picture() for _ in range(SHAPES)]
    (results / "picture.png").unlink()
    labels = np.sort(np.where(random.random(n) < 1 / 3, 0, random.integers(0, k, n)))
    distances = random.gamma(2.0, 0.01, (n, k))
    distances[np.arange(n), labels] *= 0.3
    for cluster in range(k):
        (results / "prototypes" / f"prototype{cluster}.png").write_bytes(shapes[cluster % SHAPES])
        (results / "clusters" / f"cluster{cluster}").mkdir(parents=True)
    columns = ",".join(f"dist_cluster_{cluster}" for cluster in range(k))
    lines = [f"image_id,path,cluster_id,distance,{columns}"]
    for i, label in enumerate(labels):
        for kind in ("raw", "tsf"):
            path = results / "clusters" / f"cluster{label}" / f"{i}_{kind}.png"
            path.write_bytes(shapes[i % SHAPES])
        row = ",".join(f"{value:.6g}" for value in distances[i])
        lines.append(f"book {i % 20:02d}/{i:06d}.png,{label},{distances[i, label]:.6g},{row}")
        lines[-1] = f"{i},{lines[-1]}"
    (results / "cluster_by_path.csv").write_text("\n".join(lines) + "\n")
    (results / "metrics.json").write_text(json.dumps({"n_images": n, "n_prototypes": k}))
    return experiment.id


def server_module() -> Any:
    """How the browser tests start their server."""
    path = Path(__file__).parents[1] / "web" / "conftest.py"
    spec = importlib.util.spec_from_file_location("web_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_conftest"] = module
    spec.loader.exec_module(module)
    return module


def spread(values: list[float]) -> str:
    """Median, 95% and largest."""
    ordered = sorted(values)
    late = ordered[int(len(ordered) * 0.95)]
    return f"median {statistics.median(ordered):.1f}, 95% {late:.1f}, largest {ordered[-1]:.1f}"


def row(name: str, value: str) -> None:
    print(f"{name:<50} {value}", flush=True)


class Visit:
    """One window on the page of the run."""

    def __init__(self, context: BrowserContext, address: str, rest: int = AT_REST) -> None:
        self.page: Page = context.new_page()
        self.page.wait_for_timeout(rest)
        self.sizes: list[int] = []
        self.requests = 0
        self.page.on("response", self._note)
        self.page.goto(address)

    def _note(self, response: Any) -> None:
        if "thumbnail=" in response.url and response.status == 200:
            self.requests += 1
            self.sizes.append(int(response.headers.get("content-length", 0)))

    def first_pictures(self) -> tuple[float, float]:
        """Seconds from the navigation to the first picture on the screen, and to the twelfth."""
        while len(self.page.evaluate("() => window.painted")) < VISIBLE:
            self.page.wait_for_timeout(20)
        times = self.page.evaluate("() => window.painted")
        return times[0] / 1000, times[VISIBLE - 1] / 1000


def processor_time(context: BrowserContext, address: str) -> float:
    """Seconds of work of the page's main thread until the pictures stand, with an empty cache. Unlike the time on the
    clock it hardly depends on what else the machine does."""
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
    devtools.send("Performance.enable")
    page.goto(address)
    while len(page.evaluate("() => window.painted")) < VISIBLE:
        page.wait_for_timeout(20)
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    context.close()
    return float(metrics["TaskDuration"])


def medians(times: list[tuple[float, float]]) -> str:
    """Of the first picture and of the last that is waited for."""
    one, many = (statistics.median(part) for part in zip(*times))
    return f"{one:.2f}, {VISIBLE} pictures {many:.2f} (median of {len(times)})"


def first_paint(browser: Browser, make: Any, address: str) -> BrowserContext:
    context = make()
    cold = Visit(context, address)
    one, many = cold.first_pictures()
    row("first picture, thumbnails not made yet (s)", f"{one:.2f}, {VISIBLE} pictures {many:.2f}")
    for window, rest in (("window at rest", AT_REST), ("new window", 0)):
        times = []
        for _ in range(5):
            fresh = make()  # an empty cache: every time as on the first visit of another person
            times.append(Visit(fresh, address, rest).first_pictures())
            fresh.close()
        row(f"first picture, empty cache, {window} (s)", medians(times))
        times = []
        for _ in range(5):
            visit = Visit(context, address, rest)
            times.append(visit.first_pictures())
            visit.page.close()
        row(f"first picture, visited before, {window} (s)", medians(times))
    row("its main thread until then, processor time (s)", f"{processor_time(make(), address):.2f}")
    cold.page.wait_for_timeout(1500)
    row(
        "thumbnails (bytes)",
        f"mean {statistics.mean(cold.sizes):.0f}, largest {max(cold.sizes)}, n {cold.requests}",
    )
    cold.page.close()
    return context


def scrolling(context: BrowserContext, address: str) -> None:
    visit = Visit(context, address)
    page = visit.page
    visit.first_pictures()
    page.wait_for_timeout(2000)  # what is read when all is quiet has been read

    def scroll(name: str) -> None:
        for state in ("thumbnails not made yet", "made"):
            row(f"frames, {name}, {state} (ms)", spread(page.evaluate(SCROLL, [IMAGES, 40])))
            page.evaluate("(view) => document.querySelector(view).scrollTo(0, 0)", IMAGES)
            page.wait_for_timeout(1000)

    scroll("rows")
    page.locator('.main-pane [data-cluster="0"] .more').click()
    page.wait_for_timeout(500)
    scroll("largest open")
    page.close()


def acting(context: BrowserContext, address: str) -> None:
    visit = Visit(context, address)
    page = visit.page
    visit.first_pictures()
    page.wait_for_timeout(2500)
    page.locator('.main-pane [data-cluster="0"] .more').click()
    page.wait_for_timeout(300)
    tile = '.main-pane [data-cluster="0"] .tile'
    times: dict[str, list[float]] = {"select": [], "move": [], "undo": [], "select all of it": []}
    for number in range(30):
        times["select"].append(page.evaluate(ACT, [f"{tile}:nth-of-type({number % 12 + 1})", " ", {}]))
    page.keyboard.press("Escape")
    for _ in range(20):
        times["move"].append(page.evaluate(ACT, [tile, "2", {}]))
        page.wait_for_timeout(60)
    for _ in range(20):
        times["undo"].append(page.evaluate(ACT, [tile, "z", {"ctrlKey": True}]))
        page.wait_for_timeout(60)
    for _ in range(5):
        times["select all of it"].append(page.evaluate(ACT, [tile, "a", {"ctrlKey": True}]))
        page.keyboard.press("Escape")
    size = page.evaluate("() => document.querySelector('.rail-item').getAttribute('aria-label')")
    row("the largest cluster", size)
    for name, values in times.items():
        row(f"script of: {name} (ms)", spread(values))
    page.locator(".save-state[data-status=saved]").wait_for(timeout=20_000)
    page.close()


def memory(context: BrowserContext, address: str, actions: int) -> None:
    """A person's hour: scrolling, looking at images, choosing, moving, undoing, filtering, going to other clusters."""
    visit = Visit(context, address)
    page = visit.page
    visit.first_pictures()
    devtools = context.new_cdp_session(page)

    def state() -> str:
        devtools.send("HeapProfiler.collectGarbage")
        heap = devtools.send("Runtime.getHeapUsage")["usedSize"] / 2**20
        counts = devtools.send("Memory.getDOMCounters")
        return f"{heap:.1f} MiB, {counts['nodes']} nodes, {counts['jsEventListeners']} listeners"

    tile = ".main-pane .tile"
    page.wait_for_timeout(2000)
    for number in range(actions):
        if number % max(1, actions // 6) == 0:
            row(f"memory after {number} actions", state())
        kind = number % 6
        page.evaluate(
            "(y) => { document.querySelector('.main-pane .cluster-view').scrollTop = y; }", number * 97 % 9000
        )
        if kind == 0:
            page.evaluate(ACT, [tile, "2", {}])
        elif kind == 1:
            page.evaluate(ACT, [tile, "z", {"ctrlKey": True}])
        elif kind == 2:
            page.evaluate(ACT, [tile, " ", {}])
        elif kind == 3:
            page.evaluate(ACT, [tile, "Enter", {}])
            page.locator("dialog.viewer[open]").wait_for()
            page.keyboard.press("ArrowRight")
            page.keyboard.press("Escape")
            page.locator("dialog.viewer").wait_for(state="detached")
        elif kind == 4:
            page.locator(".result-tools input[type=search]").fill(
                f"book {number % 20:02d}" if number % 12 == 4 else ""
            )
        else:
            page.evaluate(
                "(n) => { const all = document.querySelectorAll('.rail-item'); all[n % all.length].click(); }",
                number,
            )
    row(f"memory after {actions} actions", state())
    page.close()


def listing(context: BrowserContext, server: Any, root: Path, count: int) -> None:
    """Through a list of experiments, whose pages are fetched on the way and then are there."""
    fill(root / "data", count)
    while server.call("GET", "experiments?limit=1")["total"] < count:
        time.sleep(0.5)
    page = context.new_page()
    page.goto(server.url)
    page.locator(".experiment-row[data-id]").first.wait_for()
    page.wait_for_timeout(2000)
    row("the list", f"{server.call('GET', 'experiments?limit=1')['total']} experiments")
    for state in ("pages not fetched yet", "fetched"):
        row(f"frames, list, {state} (ms)", spread(page.evaluate(SCROLL, [LIST, 80])))
        page.evaluate("(view) => document.querySelector(view).scrollTo(0, 0)", LIST)
        page.wait_for_timeout(1000)
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--actions", type=int, default=1200)
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    web = server_module()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        id = make_result(root / "data", options.images, options.clusters)
        row("result", f"{options.images} images in {options.clusters} clusters")
        server = web.start_server(root, root / "data")
        address = f"{server.url}#/e/{id}"
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=options.chromium, args=web.ARGUMENTS)

                def make() -> BrowserContext:
                    context = browser.new_context(viewport=web.LAPTOP, locale="en-GB")
                    context.request.get(f"{server.url}?token={web.TOKEN}")
                    context.add_init_script(NOTE_PAINTS)
                    return context

                context = first_paint(browser, make, address)
                scrolling(context, address)
                acting(context, address)
                memory(context, address, options.actions)
                listing(context, server, root, options.experiments)
                browser.close()
        finally:
            server.process.terminate()
            server.process.wait(60)


if __name__ == "__main__":
    main()
