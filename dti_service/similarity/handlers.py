"""GET /dti/demos/similarity_search/{experiment id}/near?image=N&limit=12: the images most like one image."""

from __future__ import annotations

import functools
from pathlib import Path

from dti_service.handlers.demos import DemoHandler
from dti_service.similarity.search import Gallery, load, number

MOST = 100


@functools.lru_cache(8)
def _gallery(results: Path, version: int) -> Gallery:
    return load(results)


class NearHandler(DemoHandler):
    async def get(self, id: str) -> None:
        query = self.query("image", "limit")
        image = number(query.get("image"), "image", 0, 10**9)
        limit = number(query.get("limit"), "limit", 12, MOST)
        results = (await self.directory(id)) / "results"
        version = (await self.quick((results / "metrics.json").stat)).st_mtime_ns
        gallery = await self.quick(_gallery, results, version)
        near = await self.slow(gallery.nearest, image, limit)
        asked = {"image": image, "name": gallery.names[image], "picture": gallery.pictures[image]}
        self.answer({**asked, "total": len(gallery), "nearest": near})


HANDLERS = [("([^/]+)/near", NearHandler)]
