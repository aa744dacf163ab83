"""The REST interface: parse the request, call the service, render the answer. No rule lives here."""

from __future__ import annotations

from tornado.web import RequestHandler


def all_handlers() -> list[tuple[str, type[RequestHandler]]]:
    """Every route as (pattern, handler); the last one catches what no other does."""
    from dti_service.handlers import (
        artifacts,
        curations,
        datasets,
        discover,
        events,
        experiments,
        fits,
        health,
        monitor,
        notebooks,
        openapi,
        pages,
    )
    from dti_service.handlers.base import NotFoundHandler

    modules = (
        events,  # before `experiments`, whose ids look like anything
        experiments,
        artifacts,
        curations,
        fits,
        datasets,
        notebooks,
        monitor,
        health,
        openapi,
        pages,
        discover,
    )
    routes = [route for module in modules for route in module.HANDLERS]
    return [*routes, (r"/dti/api/.*", NotFoundHandler)]
