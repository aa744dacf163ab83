"""Callbacks to receivers that are slow, absent, rude, or that want the results before they answer."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dti_service.datasets.guard.addresses import AllowList
from dti_service.experiment import Experiment, transition
from dti_service.notify import SIGNATURE, Notifier
from dti_service.store import Store

Make = Callable[..., Experiment]
LOCAL = AllowList.parse("127.0.0.1")


class Receiver:
    """An HTTP server that notes what it is told. `statuses`: its next answers; afterwards 200."""

    def __init__(self, port: int = 0) -> None:
        receiver = self
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.times: list[float] = []
        self.statuses: list[int] = []
        self.before_answer: Callable[[dict[str, Any]], None] = lambda event: None

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                event = json.loads(body)
                receiver.bodies.append(body)
                receiver.times.append(time.monotonic())
                receiver.headers.append({**dict(self.headers), "path": self.path})
                receiver.before_answer(event)
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if 200 <= status < 300:
                    receiver.events.append(event)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/watch?token=abc"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def notifier(store: Store, tmp_path: Path) -> Iterator[Callable[..., Notifier]]:
    running: list[Notifier] = []

    def make(**options: Any) -> Notifier:
        options = {"allow": LOCAL, "poll_s": 0.02, "pauses_s": (0.05,), **options}
        made = Notifier(store, tmp_path / "outbox", **options)
        made.start()
        running.append(made)
        return made

    yield make
    for made in running:
        made.stop()


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.01)


def go(store: Store, experiment: Experiment, state: Any, **changes: Any) -> Experiment:
    changed = transition(store.get(experiment.id), state, **changes)
    store.save(changed)
    return changed


def outbox(notifier: Notifier) -> list[str]:
    return sorted(path.name for path in notifier.directory.glob("*.json"))


def test_started_then_success(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    experiment = make_experiment()
    result = "http://api/clustering/x/result"
    post.enlist(experiment.id, [receiver.url], experiment_id="their id", result_url=result, after_s=0)
    time.sleep(0.2)
    assert receiver.names == []  # it has not started
    go(store, experiment, "running")
    until(lambda: receiver.names == ["STARTED"])
    time.sleep(0.2)
    assert receiver.names == ["STARTED"]  # once
    go(store, experiment, "succeeded")
    until(lambda: len(receiver.names) == 2 and not outbox(post))
    ids = {"tracking_id": experiment.id, "experiment_id": "their id"}
    assert receiver.events == [
        {"event": "STARTED", **ids},
        {"event": "SUCCESS", **ids, "success": True, "output": {"result_url": result}},
    ]
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert receiver.headers[0]["path"] == "/watch?token=abc"
    assert SIGNATURE not in receiver.headers[0]
    time.sleep(0.2)
    assert len(receiver.bodies) == 2


def test_an_error_is_told_in_both_dialects(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    experiment = make_experiment(state="running")
    post.enlist(experiment.id, [receiver.url], after_s=0)
    error = {"kind": "bad_input", "message": "documents[0]: not a zip", "cell": 2}
    go(store, experiment, "failed", error=error)
    until(lambda: len(receiver.names) == 2)
    told = receiver.events[-1]
    assert told["event"] == "ERROR"
    assert told["error"] == told["message"] == "documents[0]: not a zip"
    assert told["completed"] is True


def test_nothing_is_sent_before_the_answer_had_time_to_arrive(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    experiment = make_experiment(state="running")
    asked = time.monotonic()
    post.enlist(experiment.id, [receiver.url], after_s=0.6)
    go(store, experiment, "failed", error={"kind": "bad_input", "message": "no", "cell": None})
    until(lambda: len(receiver.names) == 2)
    assert receiver.times[0] - asked >= 0.55
    assert receiver.names == ["STARTED", "ERROR"]


@pytest.mark.parametrize("moment", ["queued", "asked", "ended", "succeeded all the same"])
def test_nothing_follows_a_cancellation(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier], moment: str
) -> None:
    post = notifier()
    experiment = make_experiment(state="queued" if moment == "queued" else "running")
    store.request_cancel(experiment.id)
    post.enlist(experiment.id, [receiver.url], after_s=0.1)
    if moment != "asked":
        go(store, experiment, "succeeded" if moment.startswith("succeeded") else "cancelled")
    until(lambda: not outbox(post))
    time.sleep(0.2)
    assert receiver.bodies == []


def test_a_deleted_experiment_is_forgotten(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    experiment = make_experiment(state="failed")
    store.delete(experiment.id)
    post.enlist(experiment.id, [receiver.url], after_s=0.05)
    until(lambda: not outbox(post))
    assert receiver.bodies == []


def test_an_absent_receiver_is_told_in_order_when_it_comes_back(
    store: Store, make_experiment: Make, notifier: Callable[..., Notifier]
) -> None:
    first = Receiver()
    first.close()
    post = notifier(pauses_s=(0.1, 0.2, 0.3))
    experiment = make_experiment(state="running")
    post.enlist(experiment.id, [first.url], after_s=0)
    time.sleep(0.4)
    go(store, experiment, "succeeded")
    back = Receiver(first.port)
    until(lambda: len(back.names) == 2)
    assert back.names == ["STARTED", "SUCCESS"]
    back.close()


def test_a_final_event_is_repeated_until_it_is_taken_and_then_never_again(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    experiment = make_experiment(state="succeeded")
    receiver.statuses = [200, 500, 503, 500]
    post.enlist(experiment.id, [receiver.url], after_s=0)
    until(lambda: not outbox(post))
    assert receiver.names == ["STARTED", "SUCCESS"]
    assert len(receiver.bodies) == 5
    time.sleep(0.3)
    assert len(receiver.bodies) == 5


def test_a_receiver_that_refuses_is_given_up(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    experiment = make_experiment(state="succeeded")
    receiver.statuses = [404] * 100
    post.enlist(experiment.id, [receiver.url], after_s=0)
    until(lambda: not outbox(post))
    assert receiver.names == []
    assert len(receiver.bodies) == 10  # five times each event


def test_redirects_are_not_followed(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    experiment = make_experiment(state="succeeded")
    receiver.statuses = [302] * 100
    post.enlist(experiment.id, [receiver.url], after_s=0)
    until(lambda: not outbox(post))
    assert {headers["path"] for headers in receiver.headers} == {"/watch?token=abc"}


def test_addresses_that_may_not_be_reached_are_given_up_at_once(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier(allow=AllowList())
    experiment = make_experiment(state="succeeded")
    post.enlist(experiment.id, [receiver.url, "ftp://example.org/", "http://[::1]/"], after_s=0)
    until(lambda: not outbox(post))
    assert receiver.bodies == []


def test_one_receiver_does_not_hold_up_another(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier()
    slow = Receiver()
    release = threading.Event()
    slow.before_answer = lambda event: release.wait(10) and None
    experiment = make_experiment(state="succeeded")
    post.enlist(experiment.id, [slow.url, receiver.url], after_s=0)
    until(lambda: receiver.names == ["STARTED", "SUCCESS"])
    assert slow.names == []
    release.set()
    until(lambda: slow.names == ["STARTED", "SUCCESS"] and not outbox(post))
    assert len(receiver.bodies) == 2
    slow.close()


def test_a_restart_forgets_nothing_and_repeats_nothing(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    first = notifier()
    experiment = make_experiment(state="running")
    first.enlist(experiment.id, [receiver.url], result_url="http://api/r", after_s=0)
    until(lambda: receiver.names == ["STARTED"] and '"started": true' in _letter(first))
    first.stop()
    go(store, experiment, "succeeded")
    second = notifier()
    until(lambda: not outbox(second))
    assert receiver.names == ["STARTED", "SUCCESS"]
    assert receiver.events[1]["output"] == {"result_url": "http://api/r"}


def _letter(notifier: Notifier) -> str:
    return "".join(path.read_text() for path in notifier.directory.glob("*.json"))


def test_only_one_process_sends_at_a_time(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    first, second = notifier(), notifier()
    experiment = make_experiment(state="succeeded")
    second.enlist(experiment.id, [receiver.url], after_s=0)
    until(lambda: receiver.names == ["STARTED", "SUCCESS"], 15)
    assert first.directory == second.directory
    assert len(receiver.bodies) == 2


def test_a_damaged_outbox_file_is_set_aside(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier], tmp_path: Path
) -> None:
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "x.json").write_text('{"id": 3')
    post = notifier()
    experiment = make_experiment(state="succeeded")
    post.enlist(experiment.id, [receiver.url], after_s=0)
    until(lambda: receiver.names == ["STARTED", "SUCCESS"])
    assert (tmp_path / "outbox" / "x.unreadable").exists()


def test_the_signature_can_be_checked_by_whoever_knows_the_secret(
    store: Store, make_experiment: Make, receiver: Receiver, notifier: Callable[..., Notifier]
) -> None:
    post = notifier(secret="shared")
    experiment = make_experiment(state="running")
    post.enlist(experiment.id, [receiver.url], after_s=0)
    until(lambda: receiver.names == ["STARTED"])
    at, digest = (part.split("=", 1)[1] for part in receiver.headers[0][SIGNATURE].split(","))
    signed = at.encode() + b"." + receiver.bodies[0]
    assert digest == hmac.new(b"shared", signed, hashlib.sha256).hexdigest()
    assert abs(int(at) - time.time()) < 60
