"""Which devices there are, and who may use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dti_service import devices
from dti_service.devices import visible_devices
from dti_service.dispatch.slots import Slot, can_run, find_slots
from dti_service.locks import FileLock
from dti_service.settings import Settings
from dti_service.store import Store

ANSWER = """0, GPU-aaaa1111, NVIDIA H100 80GB HBM3, 81559, 4, 0
1, GPU-bbbb2222, NVIDIA H100 80GB HBM3, 81559, 40000, 97
2, GPU-cccc3333, NVIDIA GB10, [N/A], [N/A], [N/A]
"""


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_ask", lambda: ANSWER)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("shown", "keys"),
    [
        (None, ["GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333"]),
        ("2,0", ["GPU-cccc3333", "GPU-aaaa1111"]),
        ("GPU-bbbb", ["GPU-bbbb2222"]),
        ("", []),
        ("-1", []),
        ("1,7,0", ["GPU-bbbb2222"]),
        ("MIG-1234", ["MIG-1234"]),
    ],
)
def test_devices_are_counted_as_cuda_does(shown: str | None, keys: list[str]) -> None:
    found = visible_devices(ANSWER, {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown})
    assert [item.key for item in found] == keys
    assert [item.device for item in found] == [f"cuda:{number}" for number in range(len(keys))]


def test_what_the_driver_does_not_say_is_not_known() -> None:
    first, _, last = visible_devices(ANSWER, {})
    assert (first.memory_total, first.memory_used, first.utilization) == (81559 * 2**20, 4 * 2**20, 0)
    assert (last.memory_total, last.memory_used, last.utilization) == (None, None, None)
    assert visible_devices("No devices were found\n", {}) == []


@pytest.mark.parametrize(
    ("device", "wanted", "expected"),
    [
        ("cuda:0", "auto", True),
        ("cuda:0", "cuda", True),
        ("cuda:0", "cuda:0", True),
        ("cuda:0", "cuda:1", False),
        ("cuda:0", "cpu", False),
        ("cpu", "auto", True),
        ("cpu", "cpu", True),
        ("cpu", "cuda", False),
    ],
)
def test_requests_fit_devices(tmp_path: Path, device: str, wanted: str, expected: bool) -> None:
    assert Slot(device, FileLock(tmp_path / "lock")).accepts(wanted) is expected


@pytest.mark.usefixtures("three_gpus")
def test_beside_gpus_the_cpu_runs_only_what_asks_for_it(settings: Settings, store: Store) -> None:
    slots = find_slots(settings.replace(devices="auto"), store)
    assert [slot.device for slot in slots if slot.accepts("auto")] == ["cuda:0", "cuda:1", "cuda:2"]
    assert [slot.device for slot in slots if slot.accepts("cpu")] == ["cpu"]
    assert can_run(settings.replace(devices="auto"), "cpu")
    assert not can_run(settings.replace(devices="cuda:0"), "cpu")
    assert not can_run(settings.replace(devices="auto"), "cuda:3")


@pytest.mark.usefixtures("three_gpus")
def test_one_piece_of_hardware_has_one_lock_however_it_is_counted(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings.replace(devices="auto")
    plain = {slot.device: slot.lock.path for slot in find_slots(settings, store)}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    only = {slot.device: slot.lock.path for slot in find_slots(settings, store)}
    assert only["cuda:0"] == plain["cuda:2"]
    assert len(set(plain.values())) == 4


def test_without_a_driver_there_is_the_cpu(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_ask", lambda: "")
    slots = find_slots(settings.replace(devices="auto"), store)
    assert [(slot.device, slot.on_request) for slot in slots] == [("cpu", False)]
