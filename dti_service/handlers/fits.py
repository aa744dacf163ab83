"""What a finished run's model makes of an image: a chosen prototype fitted to it, and the layers of a scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from dti_service.experiment import TERMINAL
from dti_service.fitting.pictures import fitted_picture, layers_of, part_picture
from dti_service.handlers.base import Handler
from dti_service.handlers.fields import query_integer
from dti_service.handlers.files import FileHandler
from dti_service.thumbnails import SIZES, thumbnail

RESOURCE = "artifacts"


class ModelHandler(FileHandler):
    """Base: asks the model in its own thread, and sends pictures like any other."""

    async def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._run_in(self.context.fitter.threads, function, self.context.fitter, *arguments)

    async def directory(self, id: str) -> Path:
        experiment = await self.quick(self.service.store.get, id)
        if experiment.state in TERMINAL:
            self.caching = "private, max-age=86400"
        return self.service.store.directory(id)

    async def picture(self, id: str, function: Callable[..., Path], *arguments: Any) -> None:
        size = query_integer(self.query("thumbnail"), "thumbnail", *SIZES)
        directory = await self.directory(id)
        path = await self.ask(function, directory, *arguments)
        if size is None:
            await self.send_file(path)
        else:
            small = await self.slow(thumbnail, path, directory / "thumbnails", size, "webp")
            await self.send_file(small, filename=f"{path.stem}.webp")


class FitHandler(ModelHandler):
    """/dti/api/experiments/{id}/fits/{image}/{prototype}.png"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, image: str, prototype: str) -> None:
        await self.picture(id, fitted_picture, int(image), int(prototype))


class LayersHandler(ModelHandler):
    """/dti/api/experiments/{id}/layers/{image}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, image: str) -> None:
        self.query()
        directory = await self.directory(id)
        self.answer(await self.ask(layers_of, directory, int(image)))


class LayerHandler(ModelHandler):
    """/dti/api/experiments/{id}/layers/{image}/{part}.png"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str, image: str, part: str) -> None:
        await self.picture(id, part_picture, int(image), part)


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/experiments/([^/]+)/fits/(\d{1,9})/(\d{1,6})\.png", FitHandler),
    (r"/dti/api/experiments/([^/]+)/layers/(\d{1,9})", LayersHandler),
    (r"/dti/api/experiments/([^/]+)/layers/(\d{1,9})/(background|layer\d{1,3})\.png", LayerHandler),
]
