"""The news of all experiments: as a stream that can be taken up again, and as a list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dti_service import index_changes
from dti_service.experiment import Experiment, transition
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]
Listen = Callable[..., "Listener"]
LIST = {"Accept": "application/json"}


@pytest.fixture
def dti_config() -> dict[str, Any]:
    return {"run_experiments": False}


class Listener:
    """A client of the stream."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.received = bytearray()
        self._task = asyncio.ensure_future(self._listen(url, headers))

    async def _listen(self, url: str, headers: dict[str, str]) -> None:
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == "text/event-stream"
            async for chunk in answer.aiter_bytes():
                self.received.extend(chunk)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that have arrived as {"id", "event", "data"}."""
        found = []
        for block in bytes(self.received).rpartition(b"\n\n")[0].decode().split("\n\n"):
            fields = dict(
                line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":")
            )
            if "data" in fields:
                data = json.loads(fields["data"])
                found.append({"id": fields.get("id", ""), "event": fields["event"], "data": data})
        return found

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The first event of this kind with these fields."""
        async with asyncio.timeout(30):
            while True:
                for event in self.events:
                    if event["event"] == kind and fields.items() <= event["data"].items():
                        return event
                assert not self._task.done(), bytes(self.received)
                await asyncio.sleep(0.02)

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
def listen(http_server: Any, jp_base_url: str, jp_auth_header: dict[str, str]) -> Listen:
    """`listen()` or `listen(last_event_id)`"""
    port = next(iter(http_server._sockets.values())).getsockname()[1]
    url = f"http://127.0.0.1:{port}{jp_base_url}dti/api/experiments/events"

    def listen(last_id: str | None = None) -> Listener:
        return Listener(url, {**jp_auth_header, **({"Last-Event-ID": last_id} if last_id else {})})

    return listen


async def news(fetch: Fetch, after: str | None = None, **params: Any) -> dict[str, Any]:
    params = {**params, **({"after": after} if after else {})}
    answer = await fetch("GET", "experiments", "events", params=params, headers=dict(LIST))
    assert answer.code == 200, answer.body
    return json.loads(answer.body)


async def test_every_change_is_told_and_a_reconnect_misses_none(
    fetch: Fetch, listen: Listen, make: Make, service: Service
) -> None:
    make("succeeded", name="an earlier one")
    listener = listen()
    hello = await listener.until("hello")
    experiment = make("queued", name="the new one", owner="ada")
    created = await listener.until("created", experiment_id=experiment.id)
    assert created["data"]["experiment"]["name"] == "the new one"
    assert created["data"]["experiment"]["queue_position"] == 1
    assert created["data"]["experiment"]["links"]["self"].endswith(f"/dti/api/experiments/{experiment.id}")
    running = transition(service.store.get(experiment.id), "running", assigned_device="cpu")
    service.store.save(running)
    await listener.until("state", experiment_id=experiment.id, state="running", earlier="queued")
    await listener.leave()

    # What happens while nobody listens is told to the one who comes back.
    with service.store.claim(experiment.id):
        assert (await fetch("POST", "experiments", experiment.id, "cancel")).code == 202
        service.store.save(transition(running, "cancelled"))
    assert (await fetch("PATCH", "experiments", experiment.id, json={"name": "renamed"})).code == 200
    assert (await fetch("DELETE", "experiments", experiment.id)).code == 204

    last = [event for event in listener.events if event["id"]][-1]["id"]
    listener = listen(last)
    gone = await listener.until("deleted", experiment_id=experiment.id)
    told = [(event["data"]["kind"], event["data"]["state"]) for event in listener.events]
    assert told == [
        *[("state", "cancelling"), ("state", "cancelled"), ("updated", "cancelled")],
        ("deleted", "cancelled"),
    ]
    assert gone["data"]["owner"] == "ada"
    assert gone["data"]["experiment"] is None
    await listener.leave()

    # The list tells the same.
    page = await news(fetch, hello["id"])
    kinds = [item["kind"] for item in page["items"]]
    assert kinds == ["created", "state", "state", "state", "updated", "deleted"]
    assert page["complete"]
    first = await news(fetch, hello["id"], limit=2)
    rest = await news(fetch, first["next"])
    assert [item["id"] for item in first["items"] + rest["items"]] == [item["id"] for item in page["items"]]
    assert (await news(fetch, page["next"])) == {"items": [], "next": page["next"], "complete": True}


async def test_progress_is_told_once_a_second_at_most(listen: Listen, make: Make, service: Service) -> None:
    experiment = make("running")
    log = service.store.events(experiment.id)
    log.append("progress", step=1, total=1000, unit="iterations")
    listener = listen()
    event = await listener.until("progress")
    assert event["data"]["experiment_id"] == experiment.id
    assert not event["id"]
    assert event["data"]["progress"]["total"] == 1000
    loop = asyncio.get_running_loop()
    begun = loop.time()
    step = 1
    while loop.time() - begun < 1.5:
        step += 1
        log.append("progress", step=step, total=1000, unit="iterations")
        await asyncio.sleep(0.05)
    told = [event for event in listener.events if event["event"] == "progress"]
    assert 1 < len(told) <= 2 + int(loop.time() - begun) < step
    await listener.leave()


async def test_what_others_change_on_the_disk_is_news(
    fetch: Fetch, listen: Listen, make: Make, service: Service
) -> None:
    """A notebook run by hand, another machine: neither goes through this server."""
    from dti_service import atomic

    experiment = make("running")
    listener = listen()
    await listener.until("hello")
    ended = transition(service.store.get(experiment.id), "succeeded")
    atomic.write_json(service.store.directory(experiment.id) / "experiment.json", ended.to_dict())
    await listener.until("state", experiment_id=experiment.id, state="succeeded", earlier="running")
    await listener.leave()


async def test_who_cannot_be_told_everything_is_told_so(
    fetch: Fetch, listen: Listen, make: Make, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_changes, "KEPT", 3)
    start = (await news(fetch))["next"]
    for _ in range(4):
        make("queued")
    page = await news(fetch, start)
    assert page["items"] == []
    assert page["complete"] is False
    listener = listen(start)
    reset = await listener.until("reset")
    assert reset["id"] == page["next"]
    later = make("queued")
    await listener.until("created", experiment_id=later.id)
    await listener.leave()

    # The same after the index was lost: positions of the old one mean nothing.
    service.store.index.path.unlink()
    service.store.index.refresh()
    page = await news(fetch, reset["id"])
    assert page["complete"] is False
    assert page["next"].split("-")[0] != start.split("-")[0]


async def test_a_position_survives_a_restart(fetch: Fetch, make: Make, service: Service) -> None:
    start = (await news(fetch))["next"]
    make("queued")
    service.store.index.close()
    page = await news(fetch, start)
    assert [item["kind"] for item in page["items"]] == ["created"]
    assert page["complete"]


@pytest.mark.parametrize("position", ["1", "x-1", "0123456789abcdef-", "0123456789abcdef-" + "9" * 30])
async def test_positions_that_are_none(fetch: Fetch, position: str) -> None:
    assert (await fetch("GET", "experiments", "events", params={"after": position})).code == 400
    headers = {"Last-Event-ID": position}
    assert (await fetch("GET", "experiments", "events", headers=headers)).code == 400
