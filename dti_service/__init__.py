"""Run DTI notebooks as durable experiments from a Jupyter server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dti_service.client import AsyncClient as AsyncClient
    from dti_service.client import Client as Client

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Where Jupyter finds the extension."""
    from dti_service.extension import DTIServiceApp

    return [{"module": "dti_service.extension", "app": DTIServiceApp}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where `jupyter labextension develop` finds what the package adds to JupyterLab."""
    return [{"src": "labextensions/dti-service", "dest": "dti-service"}]


def __getattr__(name: str) -> Any:
    # The client is loaded when it is asked for: a notebook that imports `dti_service.run` needs no HTTP.
    if name in ("AsyncClient", "Client"):
        from dti_service import client

        return getattr(client, name)
    raise AttributeError(f"module 'dti_service' has no attribute {name!r}")
