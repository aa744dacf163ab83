"""A crowd at one server: many queued experiments, many clients that follow events, and large uploads at once.

    python tests/load/crowd.py --queued 1000 --clients 50 --upload-mb 250 --uploads 3

Prints the latency of requests in the quiet and in the crowd, and the server's memory as the crowd comes and goes; and
beside what is promised (both latencies, and a memory that does not grow with the crowd), whether it is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
from many import Server, fill, median_and_95, serving, show, timed

MIB = 2**20
MOST_MS = 50  # for the median of a request
MOST_GROWN_MB = 64  # of memory, since the quiet


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50, help="clients that follow server-sent events")
    parser.add_argument("--upload-mb", type=int, default=250)
    parser.add_argument("--uploads", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dti-crowd-") as name:
        folder = Path(name)
        ids = fill(folder / "data", 100)
        archive = write_archive(folder / "upload.zip", options.upload_mb)
        # A Redis that is not there: everything waits, and the queue stays as long as it is made.
        with serving(folder / "data", folder, DTI_REDIS_URL=f"unix://{folder}/none.sock") as server:
            rows = Crowd(server, options, ids, archive).run()
    show(rows, options.json)


def write_archive(path: Path, megabytes: int) -> Path:
    """A zip of that size with one small image, the rest being what no image is: its reading costs little."""
    from PIL import Image

    picture = path.with_name("picture.png")
    Image.new("RGB", (32, 32), (200, 30, 30)).save(picture)
    chance = random.Random(0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.write(picture, "picture.png")
        for number in range(megabytes):
            archive.writestr(f"notes/{number}.txt", chance.randbytes(MIB))
    return path


class Crowd:
    """Measures one server before, during and after."""

    def __init__(self, server: Server, options: argparse.Namespace, ids: list[str], archive: Path) -> None:
        self.server = server
        self.options = options
        self.ids = ids
        self.archive = archive
        self.rows: list[dict[str, Any]] = []
        self.leaving = threading.Event()

    def run(self) -> list[dict[str, Any]]:
        with httpx.Client(headers=self.server.headers, timeout=120) as client:
            self.client = client
            self.measure("quiet")
            began = time.monotonic()
            for number in range(self.options.queued):
                body = {"notebook": "dti_clustering", "parameters": {"seed": number}}
                answer = client.post(f"{self.server.url}dti/api/experiments", json=body)
                answer.raise_for_status()
            each = 1000 * (time.monotonic() - began) / self.options.queued
            self.measure(f"{self.options.queued} queued ({each:.1f} ms each to submit)")
            clients = range(self.options.clients)
            followers = [threading.Thread(target=self._follow, daemon=True) for _ in clients]
            for thread in followers:
                thread.start()
            time.sleep(1.0)
            self.measure(f"and {self.options.clients} clients following")
            for number in range(self.options.uploads):
                uploading = threading.Thread(target=self._upload, daemon=True)
                uploading.start()
                self.measure(f"and upload {number + 1} of {self.options.upload_mb} MB", while_alive=uploading)
            self.leaving.set()
            for thread in followers:
                thread.join(20)
            time.sleep(2.0)
            self.measure("quiet again")
        return self.rows

    def measure(self, what: str, while_alive: threading.Thread | None = None) -> None:
        chance = random.Random(1)

        def get() -> None:
            answer = self.client.get(f"{self.server.url}dti/api/experiments/{chance.choice(self.ids)}")
            answer.raise_for_status()

        def page() -> None:
            self.client.get(f"{self.server.url}dti/api/experiments?limit=50").raise_for_status()

        gets, pages, most = [], [], 0
        while len(gets) < self.options.repeat or (while_alive is not None and while_alive.is_alive()):
            gets += timed(get, 10)
            pages += timed(page, 2)
            most = max(most, self.server.memory())
        if while_alive is not None:
            while_alive.join()
        row: dict[str, Any] = {
            "what": what,
            "get_median_ms": median_and_95(gets)["median_ms"],
            "get_p95_ms": median_and_95(gets)["p95_ms"],
            "list_median_ms": median_and_95(pages)["median_ms"],
            "memory_mb": most // MIB,
        }
        grown = row["memory_mb"] - (self.rows[0]["memory_mb"] if self.rows else row["memory_mb"])
        kept = max(row["get_median_ms"], row["list_median_ms"]) < MOST_MS and grown < MOST_GROWN_MB
        row["mark"] = f"< {MOST_MS} ms, < {MOST_GROWN_MB} MB more: {'kept' if kept else 'MISSED'}"
        self.rows.append(row)
        print(row, file=sys.stderr)

    def _follow(self) -> None:
        address = f"{self.server.url}dti/api/experiments?limit=1&state=queued"
        headers = self.server.headers
        with contextlib.suppress(httpx.HTTPError):
            id = httpx.get(address, headers=headers, timeout=60).json()["items"][0]["id"]
            events = f"{self.server.url}dti/api/experiments/{id}/events"
            timeout = httpx.Timeout(60, read=5)
            while not self.leaving.is_set():
                with (
                    contextlib.suppress(httpx.ReadTimeout),
                    httpx.stream("GET", events, headers=headers, timeout=timeout) as answer,
                ):
                    for _ in answer.iter_lines():
                        if self.leaving.is_set():
                            return

    def _upload(self) -> None:
        with self.archive.open("rb") as stream:
            answer = httpx.post(
                f"{self.server.url}dti/api/datasets",
                headers=self.server.headers,
                files={"files": ("upload.zip", stream, "application/zip")},
                timeout=300,
            )
        if answer.is_error:
            print(f"upload: {answer.status_code} {answer.text[:200]}", file=sys.stderr)


if __name__ == "__main__":
    main()
