"""Telling others that an experiment has started and ended: HTTP callbacks that survive everything but a refusal.

What is still to be told is kept in `outbox/<id>.json` of the data directory, so that a restart forgets nothing. For
each address the order is STARTED, then exactly one of SUCCESS and ERROR; nothing follows a cancellation. A callback
never fails a run, is tried again with growing pauses, and is sent from threads of its own: the receiver may well
download the results from this very server before it answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from dti_service.atomic import write_json
from dti_service.datasets.guard.addresses import AllowList
from dti_service.datasets.guard.errors import FetchError, GuardError
from dti_service.datasets.guard.http import GuardedHTTP
from dti_service.datasets.guard.limits import Limits
from dti_service.errors import NotFound
from dti_service.experiment import Experiment

log = logging.getLogger(__name__)

# The receiver of SUCCESS may fetch and unpack all results before it answers.
ANSWER_S = 30 * 60.0
PAUSES_S = (1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 900)  # then every 15 minutes
LONGEST_S = 3 * 24 * 3600.0
# Tries at a receiver that answers but refuses, and at announcing a start, which matters less and less.
MOST_REFUSALS = 5
MOST_STARTS = 6
SIGNATURE = "X-DTI-Signature"


@dataclass
class Target:
    """One address, and how far its story has been told. Times in seconds since 1970."""

    url: str
    started: bool = False
    finished: bool = False
    tries: int = 0  # of the event that is due
    next_at: float = 0.0
    since: float = 0.0  # when the event that is due was first tried


@dataclass
class Letter:
    """All that is still to be told about one experiment."""

    id: str
    targets: list[Target]
    experiment_id: str = ""  # the sender's own name for it
    result_url: str = ""
    not_before: float = 0.0
    version: int = field(default=1)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Letter:
        targets = [Target(**target) for target in data.pop("targets")]
        return cls(targets=targets, **data)

    @property
    def done(self) -> bool:
        return all(target.finished for target in self.targets)


class Experiments(Protocol):
    """What the notifier asks of the store."""

    def get(self, id: str) -> Experiment: ...
    def cancel_requested(self, id: str) -> bool: ...


def signature(secret: str, body: bytes, at: int) -> str:
    """`t=<seconds>,v1=<hex>`: HMAC-SHA256 of "<seconds>.<body>" under the secret that both sides know."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def message(letter: Letter, event: str, experiment: Experiment) -> dict[str, Any]:
    """The body of a callback."""
    body: dict[str, Any] = {
        "event": event,
        "tracking_id": letter.id,
        "experiment_id": letter.experiment_id or letter.id,
    }
    if event == "SUCCESS":
        body |= {"success": True, "output": {"result_url": letter.result_url}}
    elif event == "ERROR":
        error = experiment.error or {}
        text = str(error.get("message") or "The run failed")
        # One generation of receivers reads `error`, another `message`.
        body |= {"error": text, "message": text, "completed": True}
    return body


class Notifier:
    """Sends what is due. One process per data directory does it at a time; others wait for their turn."""

    def __init__(
        self,
        store: Experiments,
        directory: Path,
        *,
        allow: AllowList,
        secret: str | None = None,
        default_result_url: Callable[[str], str] = lambda id: "",
        poll_s: float = 0.25,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self.store = store
        self.directory = directory
        self.secret = secret
        self.default_result_url = default_result_url
        self.poll_s = poll_s
        self.pauses_s = pauses_s
        limits = replace(Limits(), silence_s=ANSWER_S, parallel_downloads=8)
        self._http = GuardedHTTP(allow, limits)
        self._letters: dict[str, Letter] = {}
        self._busy: set[tuple[str, str]] = set()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._senders = ThreadPoolExecutor(8, "dti-notify")

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, name="dti-notify", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more. What is being sent is not waited for: it is sent again unless its answer came."""
        self._stop.set()
        self._wake.set()
        self._senders.shutdown(wait=False, cancel_futures=True)
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        self._http.close()

    # -- what is to be told ---------------------------------------------------------------------------------

    def enlist(
        self,
        id: str,
        urls: Iterable[str],
        *,
        experiment_id: str = "",
        result_url: str = "",
        after_s: float = 1.0,
    ) -> None:
        """Tell `urls` about an experiment, not before `after_s` seconds from now: whoever submitted it must have
        received the answer first. Known already: nothing changes."""
        targets = [Target(url) for url in dict.fromkeys(urls)]
        with self._lock:
            if not targets or self._path(id).exists():
                return
            letter = Letter(
                id, targets, experiment_id, result_url or self.default_result_url(id), time.time() + after_s
            )
            self.directory.mkdir(parents=True, exist_ok=True)
            self._save(letter)
            self._letters[id] = letter
        self._wake.set()

    def answered(self, id: str, *, after_s: float = 1.0) -> None:
        """Whoever submitted the experiment has been answered: `after_s` seconds from now it may be told more."""
        with self._lock:
            letter = self._letters.get(id)
            if letter is not None:
                letter.not_before = time.time() + after_s
                self._save(letter)

    def _path(self, id: str) -> Path:
        return self.directory / f"{id}.json"

    def _save(self, letter: Letter) -> None:
        write_json(self._path(letter.id), asdict(letter))

    def _forget(self, letter: Letter) -> None:
        self._letters.pop(letter.id, None)
        self._path(letter.id).unlink(missing_ok=True)

    def _load(self) -> None:
        """Letters on disk that are not known yet: of an earlier server, or of another process."""
        for path in self.directory.glob("[!.]*.json"):
            if path.stem in self._letters:
                continue
            try:
                letter = Letter.from_dict(json.loads(path.read_text(encoding="utf-8")))
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, KeyError):
                log.error("The outbox file %s cannot be read and is set aside", path)
                with contextlib.suppress(OSError):
                    path.rename(path.with_suffix(".unreadable"))
                continue
            self._letters[letter.id] = letter

    # -- sending --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._turn() as granted:
            if not granted:
                return
            last_load = 0.0
            while not self._stop.is_set():
                try:
                    with self._lock:
                        if time.monotonic() - last_load > 5.0 or not last_load:
                            self._load()
                            last_load = time.monotonic()
                        letters = list(self._letters.values())
                    for letter in letters:
                        self._consider(letter)
                except Exception:
                    log.exception("Notifications go on after an error")
                self._wake.wait(self.poll_s)
                self._wake.clear()

    @contextlib.contextmanager
    def _turn(self) -> Any:
        """Hold the outbox; yields False when asked to stop before it was free."""
        with (self.directory / ".lock").open("w") as stream:
            while not self._stop.is_set():
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._stop.wait(2.0)
                    continue
                yield True
                return
            yield False

    def _consider(self, letter: Letter) -> None:
        """Send what is due of one letter."""
        now = time.time()
        if now < letter.not_before or not any(target.next_at <= now for target in letter.targets):
            return
        try:
            experiment = self.store.get(letter.id)
        except NotFound:
            with self._lock:
                self._forget(letter)
            return
        if experiment.state == "cancelled" or self.store.cancel_requested(letter.id):
            # The one who cancelled has told everybody; a late message would contradict it.
            with self._lock:
                self._forget(letter)
            return
        for target in letter.targets:
            event = self._due(target, experiment)
            key = (letter.id, target.url)
            if event is None or target.next_at > now:
                continue
            with self._lock:
                if key in self._busy or self._stop.is_set():
                    continue
                self._busy.add(key)
            self._senders.submit(self._deliver, letter, target, event, experiment)

    @staticmethod
    def _due(target: Target, experiment: Experiment) -> str | None:
        if target.finished:
            return None
        if not target.started and experiment.started_at is not None:
            return "STARTED"
        return {"succeeded": "SUCCESS", "failed": "ERROR"}.get(experiment.state)

    def _deliver(self, letter: Letter, target: Target, event: str, experiment: Experiment) -> None:
        try:
            outcome = self._post(target.url, message(letter, event, experiment))
            with self._lock:
                self._record(letter, target, event, outcome)
        except Exception:
            log.exception("Callback %s for %s", event, letter.id)
        finally:
            with self._lock:
                self._busy.discard((letter.id, target.url))
            self._wake.set()

    def _post(self, url: str, body: dict[str, Any]) -> int | GuardError:
        """The status of the answer, or why there is none."""
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.secret:
            headers[SIGNATURE] = signature(self.secret, content, int(time.time()))
        try:
            with self._http.request(
                "POST", url, headers=headers, content=content, time_s=ANSWER_S, follow=False
            ) as answer:
                for _ in answer.body(1 << 20, url):
                    pass
                return answer.status
        except GuardError as error:
            return error

    def _record(self, letter: Letter, target: Target, event: str, outcome: int | GuardError) -> None:
        """Note what came of a try, and decide when the next one is."""
        now = time.time()
        accepted = isinstance(outcome, int) and 200 <= outcome < 300
        target.tries += 1
        target.since = target.since or now
        if not accepted:
            log.warning("Callback %s for %s to %s: %s", event, letter.id, _shown(target.url), outcome)
        if accepted or self._hopeless(target, event, outcome, now):
            if event == "STARTED":
                target.started = True
            else:
                target.finished = True
            target.tries, target.next_at, target.since = 0, 0.0, 0.0
        else:
            target.next_at = now + self.pauses_s[min(target.tries, len(self.pauses_s)) - 1]
        if letter.id not in self._letters:
            return  # cancelled or deleted meanwhile
        if letter.done:
            self._forget(letter)
        else:
            self._save(letter)

    @staticmethod
    def _hopeless(target: Target, event: str, outcome: int | GuardError, now: float) -> bool:
        """Whether to give an event up: the receiver refuses it, may not be reached, or has been away for days."""
        if now - target.since > LONGEST_S or (event == "STARTED" and target.tries >= MOST_STARTS):
            return True
        if isinstance(outcome, int):
            refused = 300 <= outcome < 500 and outcome not in (408, 425, 429)
            return refused and target.tries >= MOST_REFUSALS
        return not isinstance(outcome, FetchError)


def _shown(url: str) -> str:
    """An address without its query, which may hold a secret."""
    return url.split("?", 1)[0]
