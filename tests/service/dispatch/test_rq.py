"""RQ on a real Redis with real workers: what one of them, or Redis itself, may do without harm to an experiment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from dti_service.dispatch.rq import RQDispatcher, announce, job_id, queue_names
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings
from dti_service.store import Store

pytestmark = [pytest.mark.redis, pytest.mark.slow]

MakeNotebook = Callable[..., Path]
PARAMETERS = "seconds: float = 0.0  # how long to work [0, 60]\nexperiment_dir: str | None = None"
WORK = """
import time
from dti_service.run import current_run
run = current_run(experiment_dir)
end = time.monotonic() + seconds
while time.monotonic() < end and not run.should_stop():
    time.sleep(0.05)
run.finish({"done": 1})
"""


class RedisServer:
    """redis-server on a Unix socket, with its data in a folder, so that it can be killed and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.command = [program, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder)]
        self.command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        wait_for(self.answers, 20)

    def answers(self) -> bool:
        with suppress(Exception):
            return bool(Redis(unix_socket_path=str(self.socket)).ping())
        return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(redis_server, tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def settings(tmp_path: Path, redis: RedisServer) -> Settings:
    return Settings(data_dir=tmp_path / "data", devices="cpu", redis_url=redis.url)


@pytest.fixture
def dispatcher(settings: Settings, store: Store) -> RQDispatcher:
    return RQDispatcher(settings, store)


@pytest.fixture
def submit(service: Service, make_notebook: MakeNotebook) -> Callable[..., str]:
    notebook = str(make_notebook(PARAMETERS, WORK))

    def queue(seconds: float = 0.0, **options: object) -> str:
        request = SubmitRequest(notebook, {"seconds": seconds}, trusted=True, **options)  # type: ignore[arg-type]
        return service.submit(request).id

    return queue


@pytest.fixture
def start_worker(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "DTI_DATA_DIR": str(settings.data_dir), "DTI_DEVICES": "cpu"}
    environment["DTI_REDIS_URL"] = str(settings.redis_url)

    def start(*options: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "dti_service", "worker", *options], env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def states(store: Store, *ids: str) -> list[str]:
    return [store.get(id).state for id in ids]


def history(store: Store, id: str) -> list[str]:
    """The states as its events tell them. The event of the end follows its record by a moment."""
    wait_for(lambda: (store.events(id).last("state") or {}).get("state") == store.get(id).state)
    return [event["state"] for _, event in store.events(id).read()[0] if event["kind"] == "state"]


def test_queues_of_a_device() -> None:
    assert queue_names("cuda:1") == ["dti-cuda-1", "dti-cuda", "dti-auto"]
    assert queue_names("cpu") == ["dti-cpu", "dti-auto"]


def test_a_worker_runs_all_in_the_store_s_order(
    dispatcher: RQDispatcher,
    store: Store,
    submit: Callable[..., str],
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> None:
    low, high = submit(priority=-5), submit(priority=5)
    dispatcher.step()
    dispatcher.step()  # announcing twice makes no second job
    assert start_worker("--burst").wait(120) == 0
    assert states(store, low, high) == ["succeeded", "succeeded"]
    started = [store.get(id).started_at or "" for id in (high, low)]
    assert started == sorted(started)
    assert history(store, low) == ["queued", "running", "succeeded"]


def test_news_is_told_once_and_again_when_redis_forgot(
    redis: RedisServer, store: Store, submit: Callable[..., str]
) -> None:
    experiment = store.get(submit())
    connection = Redis(unix_socket_path=str(redis.socket))
    assert announce(experiment, connection)
    assert not announce(experiment, connection)
    connection.flushall()
    assert announce(experiment, connection)


def test_a_job_delivered_twice_runs_once(
    redis: RedisServer,
    dispatcher: RQDispatcher,
    store: Store,
    submit: Callable[..., str],
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> None:
    id = submit()
    dispatcher.step()
    Redis(unix_socket_path=str(redis.socket)).rpush("rq:queue:dti-auto", job_id(store.get(id)))
    assert start_worker("--burst").wait(120) == 0
    assert history(store, id) == ["queued", "running", "succeeded"]


def test_a_killed_worker_s_run_is_taken_up_by_another(
    dispatcher: RQDispatcher,
    store: Store,
    submit: Callable[..., str],
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> None:
    id = submit(3.0)
    dispatcher.step()
    worker = start_worker()
    wait_for(lambda: states(store, id) == ["running"])
    worker.kill()
    worker.wait()
    start_worker()

    def ended() -> bool:
        dispatcher.recovery.soon()  # as if ten seconds had gone by
        dispatcher.step()
        return store.get(id).ended

    wait_for(ended)
    experiment = store.get(id)
    assert (experiment.state, experiment.attempt) == ("succeeded", 2)
    assert history(store, id) == ["queued", "running", "queued", "running", "succeeded"]


def test_a_worker_asked_to_stop_puts_its_run_back(
    dispatcher: RQDispatcher,
    store: Store,
    submit: Callable[..., str],
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> None:
    id = submit(60.0)
    dispatcher.step()
    worker = start_worker()
    wait_for(lambda: states(store, id) == ["running"])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert states(store, id) == ["queued"]
    assert not store.alive(id)


def test_redis_killed_during_a_run_harms_nothing(
    redis: RedisServer,
    dispatcher: RQDispatcher,
    store: Store,
    submit: Callable[..., str],
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> None:
    first, second = submit(4.0), submit()
    dispatcher.step()
    worker = start_worker()
    wait_for(lambda: states(store, first) == ["running"])
    redis.kill()
    time.sleep(2)
    redis.start()
    Redis(unix_socket_path=str(redis.socket)).flushall()  # as after a failover to an empty one

    def ended() -> bool:
        dispatcher.step()
        return store.get(first).ended and store.get(second).ended

    wait_for(ended)
    assert states(store, first, second) == ["succeeded", "succeeded"]
    assert history(store, first) == ["queued", "running", "succeeded"]
    assert worker.poll() is None


def test_the_address_of_redis_is_on_no_command_line(
    settings: Settings,
    dispatcher: RQDispatcher,
    store: Store,
    submit: Callable[..., str],
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> None:
    id = submit(2.0)
    dispatcher.step()
    start_worker()
    wait_for(lambda: states(store, id) == ["running"])
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().decode(errors="replace")
            assert "redis-server" in line or str(settings.redis_url) not in line
