"""The event file: whatever is torn or foreign in it, readers get every whole event once and in order."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dti_service.events import EventLog


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")


def kinds(log: EventLog, after: int = 0) -> list[str]:
    return [event["kind"] for _, event in log.read(after)[0]]


def test_events_come_back_in_order_with_growing_positions(log: EventLog) -> None:
    for i in range(5):
        log.append("step", number=i)
    events, position = log.read()
    assert [event["number"] for _, event in events] == list(range(5))
    assert [offset for offset, _ in events] == sorted({offset for offset, _ in events})
    assert position == events[-1][0] == log.path.stat().st_size


def test_reading_goes_on_behind_a_position(log: EventLog) -> None:
    for i in range(10):
        log.append("step", number=i)
    first, position = log.read(limit=4)
    rest, _ = log.read(position)
    assert [event["number"] for _, event in first + rest] == list(range(10))


def test_a_torn_last_line_is_waited_for(log: EventLog) -> None:
    log.append("one")
    whole = json.dumps({"kind": "two"})
    with log.path.open("a") as file:
        file.write(whole[:7])
    _, position = log.read()
    assert kinds(log) == ["one"]
    with log.path.open("a") as file:
        file.write(whole[7:] + "\n")
    assert kinds(log, position) == ["two"]


def test_an_event_after_a_torn_line_is_not_lost(log: EventLog) -> None:
    log.append("one")
    with log.path.open("a") as file:
        file.write('{"kind": "torn')
    log.append("two")
    assert kinds(log) == ["one", "two"]


def test_a_position_inside_a_line_finds_the_next_line(log: EventLog) -> None:
    log.append("one")
    log.append("two")
    assert kinds(log, 3) == ["two"]


def test_a_position_behind_the_end_waits_there(log: EventLog) -> None:
    log.append("one")
    events, position = log.read(10_000)
    assert events == []
    assert position == log.path.stat().st_size


def test_a_missing_file_has_no_events(log: EventLog) -> None:
    assert log.read() == ([], 0)
    assert log.last("state") is None


@pytest.mark.parametrize("filling", [0, 10, 3000])
def test_the_latest_event_of_a_kind_is_found_from_the_end(log: EventLog, filling: int) -> None:
    log.append("progress", step=1)
    log.append("progress", step=2)
    for _ in range(filling):
        log.append("log", text="a line of some length that fills the file " * 3)
    last = log.last("progress")
    assert last is not None
    assert last["step"] == 2


def test_the_search_for_the_latest_has_a_limit(log: EventLog) -> None:
    log.append("progress", step=1)
    for _ in range(100):
        log.append("log", text="x" * 1000)
    assert log.latest({"progress"}, most=50_000)[0] == {}
    assert log.latest({"progress"}, most=500_000)[0]["progress"]["step"] == 1


def test_what_json_has_no_word_for_becomes_null_and_what_is_no_text_is_replaced(log: EventLog) -> None:
    log.append("metrics", values={"loss": float("nan"), "curve": [1.0, float("inf")]}, name="a\udc80b")
    event = json.loads(log.path.read_bytes())  # strictly
    assert event["values"] == {"loss": None, "curve": [1.0, None]}
    assert event["name"] == "a?b"


pieces = st.lists(
    st.one_of(
        st.integers(0, 999).map(lambda n: (json.dumps({"kind": "e", "n": n}).encode() + b"\n", n)),
        st.binary(max_size=20).map(lambda junk: (junk.replace(b"{", b"(") + b"\n", None)),
        st.text(max_size=8).map(lambda text: (json.dumps([text]).encode() + b"\n", None)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(pieces, st.data())
def test_any_cut_of_any_file_is_read_without_loss_or_repetition(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bytes, int | None]], data: st.DataObject
) -> None:
    """The file arrives in two writes at an arbitrary byte, is read after each, in pages of any size."""
    content = b"".join(part for part, _ in parts)
    cut = data.draw(st.integers(0, len(content)))
    limit = data.draw(st.integers(1, 7))
    log = EventLog(tmp_path_factory.mktemp("events") / "events.jsonl")
    found, position = [], 0
    for end in (cut, len(content)):
        log.path.write_bytes(content[:end])
        while True:
            events, position = log.read(position, limit)
            if not events:
                break
            found += [event["n"] for _, event in events]
    assert found == [number for _, number in parts if number is not None]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90)), max_size=40),
    st.integers(0, 60),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_the_latest_is_the_same_read_from_either_end(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, int]], torn: int, looks: list[int]
) -> None:
    """With lines longer than what is read at a time, a torn end, and looks that go on from earlier ones."""
    log = EventLog(tmp_path_factory.mktemp("events") / "events.jsonl")
    known, position = {}, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dti_service.events.TAIL", 32)
        for number, (kind, length) in enumerate(written):
            log.append(kind, number=number, filling="x" * length)
            if number in looks:
                found, position = log.latest({"a", "b"}, position)
                known |= found
        with log.path.open("ab") as file:
            file.write(b'{"kind":"a","number":1000}'[: torn % 27])
        found, _ = log.latest({"a", "b"}, position)
    expected = {event["kind"]: event for _, event in log.read()[0] if event["kind"] != "c"}
    assert {**known, **found} == expected


def _write_many(path: Path, writer: int) -> None:
    log = EventLog(path)
    for i in range(200):
        log.append("step", writer=writer, number=i, filling="x" * (i % 50) * 20)


def test_lines_of_several_processes_do_not_mix(log: EventLog) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(log.path, number)) for number in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    events = [event for _, event in log.read()[0]]
    assert len(events) == 600
    for number in range(3):
        assert [event["number"] for event in events if event["writer"] == number] == list(range(200))


def test_followers_see_what_comes_later(log: EventLog) -> None:
    async def follow() -> list[str]:
        seen = []
        log.append("one")
        async for _, event in log.follow(poll_s=0.01):
            seen.append(event["kind"])
            if len(seen) == 1:
                log.append("two")
            if len(seen) == 2:
                return seen
        return seen

    assert asyncio.run(asyncio.wait_for(follow(), 10)) == ["one", "two"]


def test_a_full_disk_is_an_error_to_the_caller(log: EventLog) -> None:
    os.mkdir(log.path)
    with pytest.raises(OSError, match="directory"):
        log.append("one")
