"""What is logged: one line for each event, with its experiment, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dti_service import logs
from dti_service.errors import InvalidRequest
from dti_service.ids import new_id
from dti_service.logs import Secrets, known_secrets, set_up
from dti_service.settings import Settings

log = logging.getLogger("dti_service.tests")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (*logs.OURS, *logs.SERVERS)]
    before = [(logger, list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)


def read(settings: Settings) -> list[str]:
    assert settings.log_dir is not None
    (path,) = settings.log_dir.glob("*.log")
    return path.read_text().splitlines()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", log_dir=tmp_path / "logs", log_json=True)


def test_a_json_line_has_the_experiment_and_what_the_caller_adds(settings: Settings) -> None:
    set_up(settings, "server")
    id = new_id()
    log.info("Experiment %s starts on %s", id, "cpu", extra={"event": "experiment.running", "attempt": 2})
    (line,) = map(json.loads, read(settings))
    assert line["experiment_id"] == id
    assert (line["level"], line["logger"], line["message"][:10]) == (
        "info",
        "dti_service.tests",
        "Experiment",
    )
    assert (line["event"], line["attempt"]) == ("experiment.running", 2)
    assert line["time"].endswith("Z")


def test_a_request_for_an_experiment_is_about_it_and_another_id_is_not(settings: Settings) -> None:
    set_up(settings, "server")
    id = new_id()
    log.warning("404 GET /dti/api/experiments/%s/log (10.0.0.1) 3ms", id)
    log.warning("The dataset %s could not be made", id)
    first, second = map(json.loads, read(settings))
    assert first["experiment_id"] == id
    assert "experiment_id" not in second


def test_a_traceback_is_one_line_too(settings: Settings) -> None:
    set_up(settings, "server")
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        log.exception("It failed")
    (line,) = map(json.loads, read(settings))
    assert "Traceback" in line["exception"]


def test_text_lines_have_time_level_and_name(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(settings.replace(log_json=False), "worker-cpu")
    log.info("Nothing is left to do")
    (line,) = read(settings)
    assert line.endswith("Z INFO dti_service.tests: Nothing is left to do")
    assert capsys.readouterr().err.strip() == line


def test_set_up_twice_logs_once(settings: Settings) -> None:
    set_up(settings, "server")
    set_up(settings, "server")
    log.info("once")
    assert len(read(settings)) == 1


def test_files_are_turned_over(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 2000)
    set_up(settings, "server")
    for number in range(200):
        log.info("line %d %s", number, "x" * 100)
    assert settings.log_dir is not None
    files = list(settings.log_dir.iterdir())
    assert len(files) == 1 + logs.FILES_KEPT
    assert all(path.stat().st_size <= 2000 for path in files)


def test_a_folder_that_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(InvalidRequest) as caught:
        set_up(settings, "server")
    assert caught.value.errors[0]["field"] == "DTI_LOG_DIR"


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8888/dti/?token=abcdef012345",
        "Authorization: token abcdef012345abcdef",
        "'Authorization': 'Bearer abcdef012345abcdef'",
        "redis://user:abcdef012345@host:6379/0",
        "http://dti:abcdef012345@host/clustering",
        '{"password": "abcdef012345"}',
        "secret=abcdef012345",
        "Basic YWJjZGVmMDEyMzQ1 abcdef012345"[:24],
    ],
)
def test_what_stands_where_secrets_do_is_hidden(text: str) -> None:
    hidden = Secrets().remove(text)
    assert logs.HIDDEN in hidden
    assert "abcdef012345" not in hidden


@pytest.mark.parametrize(
    "text",
    ["token expired", "The secret is out", "http://host/path@2", "Experiment 1 starts on cuda:0", "a@b.org"],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Secrets().remove(text) == text


def test_what_the_process_knows_is_hidden_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    settings = Settings(tmp_path, redis_url="redis://:p%40ssword@host", notify_secret="sign-with-this")
    secrets = known_secrets(settings, {"JUPYTER_TOKEN": "from-the-env", "JUPYTER_TOKEN_FILE": str(file)})
    hide = Secrets(secrets)
    for secret in ("from-a-file", "from-the-env", "sign-with-this", "p%40ssword", "p@ssword"):
        assert secret not in hide.remove(f"it says {secret} here")


def test_secrets_in_arguments_extras_and_tracebacks_are_hidden(settings: Settings) -> None:
    set_up(settings, "server", secrets=["hunter2hunter2"])
    try:
        raise RuntimeError("cannot use hunter2hunter2")
    except RuntimeError:
        log.exception("with %s", "hunter2hunter2", extra={"facts": {"list": ["hunter2hunter2"]}})
    (line,) = read(settings)
    assert "hunter2" not in line
    assert json.loads(line)["facts"] == {"list": [logs.HIDDEN]}


def test_jupyter_s_own_lines_go_the_same_way(settings: Settings) -> None:
    server = logging.getLogger("ServerApp")
    set_up(settings, "server")
    server.critical("To access the server: http://localhost:8888/dti?token=abcdef0123456789")
    (line,) = map(json.loads, read(settings))
    assert line["logger"] == "ServerApp"
    assert "abcdef" not in line["message"]


def test_at_a_terminal_jupyter_s_address_stays_whole_but_not_in_production(settings: Settings) -> None:
    class Kept(logging.Handler):
        lines: list[str] = []  # noqa: RUF012

        def emit(self, record: logging.LogRecord) -> None:
            self.lines.append(self.format(record))

    server, kept = logging.getLogger("ServerApp"), Kept()
    server.addHandler(kept)
    for profile in ("development", "production"):
        set_up(settings.replace(log_json=False, profile=profile), "server")
        server.critical("http://localhost:8888/dti?token=abcdef0123456789")
    first, second = kept.lines
    assert "abcdef" in first
    assert "abcdef" not in second
