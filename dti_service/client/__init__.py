"""The REST interface from Python: `Client` for scripts and notebooks, `AsyncClient` for programs with an event loop.

    from dti_service import Client
    with Client("http://localhost:8888", token) as client:
        experiment = client.submit("dti_clustering", {"n_prototypes": 12}, dataset="/data/ornaments")
        experiment = client.wait(experiment["id"], progress=lambda event: print(event["step"], event["total"]))
        client.download_results(experiment["id"], "results.zip")

Both answer with the objects of the REST interface, as dictionaries. What the server refuses is raised as the
`ServiceError` of that status (`NotFound`, `InvalidRequest`, ...) with its `errors`; a server that cannot be
reached, after some tries, as `Unreachable`.
"""

from dti_service.client.aio import AsyncClient
from dti_service.client.base import Unreachable
from dti_service.client.sync import Client

__all__ = ["AsyncClient", "Client", "Unreachable"]
