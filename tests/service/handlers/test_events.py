"""The stream of events and the list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from dti_service.experiment import Experiment, transition
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]


def parse(stream: bytes) -> list[dict[str, Any]]:
    """Server-sent events as {"id", "event", "data"}; comments and `retry` are left out."""
    events = []
    for block in stream.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            events.append(
                {"id": int(fields["id"]), "event": fields["event"], "data": json.loads(fields["data"])}
            )
    return events


async def test_a_finished_experiment_is_told_to_its_end(fetch: Fetch, make: Make, service: Service) -> None:
    experiment = make("succeeded")
    log = service.store.events(experiment.id)
    for step in range(3):
        log.append("progress", step=step, total=3, note="ü\u2028")
    response = await fetch("GET", "experiments", experiment.id, "events")
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    events = parse(response.body)
    assert [event["event"] for event in events] == ["state", "progress", "progress", "progress", "end"]
    assert events[1]["data"]["step"] == 0
    assert events[-1]["data"]["state"] == "succeeded"
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)


async def test_a_client_that_reconnects_misses_nothing_and_gets_nothing_twice(
    fetch: Fetch, make: Make, service: Service
) -> None:
    experiment = make("succeeded")
    for step in range(4):
        service.store.events(experiment.id).append("progress", step=step, total=4)
    events = parse((await fetch("GET", "experiments", experiment.id, "events")).body)
    for seen in range(len(events)):
        last = str(events[seen]["id"])
        for options in ({"headers": {"Last-Event-ID": last}}, {"params": {"after": last}}):
            rest = parse((await fetch("GET", "experiments", experiment.id, "events", **options)).body)
            expected = events[seen + 1 :] or events[-1:]  # after everything, only the end is told again
            assert rest == expected
    both = {"headers": {"Last-Event-ID": str(events[2]["id"])}, "params": {"after": "0"}}
    assert parse((await fetch("GET", "experiments", experiment.id, "events", **both)).body) == events[3:]


async def test_events_arrive_while_it_runs(
    jp_fetch: Any, make: Make, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dti_service.handlers import streaming as module

    monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.3)
    experiment = make("running")
    log = service.store.events(experiment.id)
    received = bytearray()
    request = asyncio.ensure_future(
        jp_fetch("dti", "api", "experiments", experiment.id, "events", streaming_callback=received.extend)
    )

    async def until(text: bytes) -> None:
        while text not in received:
            assert not request.done(), bytes(received)
            await asyncio.sleep(0.02)

    await until(b"event: state")
    log.append("progress", step=1, total=2)
    await until(b'"step":1')
    await until(b": still here")
    with service.store.claim(experiment.id):
        service.store.save(
            transition(experiment, "failed", error={"kind": "lost", "message": "gone", "cell": None})
        )
    log.append("state", state="failed")
    await request
    assert [event["event"] for event in parse(bytes(received))] == ["state", "progress", "state", "end"]


async def test_a_client_that_leaves_is_forgotten(
    jp_base_url: str, jp_auth_header: dict[str, str], http_server: Any, make: Make, caplog: Any
) -> None:
    experiment = make("running")
    port = _port(http_server)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = f"{jp_base_url}dti/api/experiments/{experiment.id}/events"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {jp_auth_header['Authorization']}\r\n\r\n".encode()
    )
    await reader.readuntil(b"event: state")
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.6)
    pending = [task for task in asyncio.all_tasks() if "EventsHandler" in repr(task.get_coro())]
    assert not pending
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def _port(server: Any) -> int:
    return next(iter(server._sockets.values())).getsockname()[1]


async def test_as_a_list(fetch: Fetch, make: Make, service: Service) -> None:
    experiment = make("running")
    for step in range(3):
        service.store.events(experiment.id).append("progress", step=step, total=3)
    headers = {"Accept": "application/json"}
    page = json.loads(
        (
            await fetch(
                "GET", "experiments", experiment.id, "events", headers=dict(headers), params={"limit": 2}
            )
        ).body
    )
    assert [event["kind"] for event in page["items"]] == ["state", "progress"]
    assert page["ended"] is False
    rest = json.loads(
        (
            await fetch(
                "GET",
                "experiments",
                experiment.id,
                "events",
                headers=dict(headers),
                params={"after": page["next"]},
            )
        ).body
    )
    assert [event["step"] for event in rest["items"]] == [1, 2]
    assert rest["items"][-1]["id"] == rest["next"]


async def test_a_torn_last_line_is_left_for_later(fetch: Fetch, make: Make, service: Service) -> None:
    experiment = make("succeeded")
    path = service.store.directory(experiment.id) / "events.jsonl"
    with path.open("ab") as stream:
        stream.write(b'not json\n{"kind":"progress","step":1}\n{"kind":"prog')
    events = parse((await fetch("GET", "experiments", experiment.id, "events")).body)
    assert [event["event"] for event in events] == ["state", "progress", "end"]


@pytest.mark.parametrize("position", ["-1", "x", "1.5", "9" * 30])
async def test_positions_that_are_none(fetch: Fetch, make: Make, position: str) -> None:
    experiment = make("succeeded")
    assert (
        await fetch("GET", "experiments", experiment.id, "events", params={"after": position})
    ).code == 400
    headers = {"Last-Event-ID": position}
    assert (await fetch("GET", "experiments", experiment.id, "events", headers=headers)).code == 400


async def test_a_position_beyond_the_end_is_the_end(fetch: Fetch, make: Make) -> None:
    experiment = make("succeeded")
    events = parse(
        (await fetch("GET", "experiments", experiment.id, "events", params={"after": "99999999"})).body
    )
    assert [event["event"] for event in events] == ["end"]
