"""The speed benchmark: every case runs at a small size, and its reference computes what the library does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dti_sprites.bench.results_file import read_section
from dti_sprites.bench.speed import cases as cases_module
from dti_sprites.bench.speed import measure as measure_module
from dti_sprites.bench.speed.cases import SCALING_K, Case, all_cases, case_names, find_cases
from dti_sprites.bench.speed.counters import count_launches, peak_bytes
from dti_sprites.bench.speed.measure import Effort, Measurement, measure
from dti_sprites.bench.speed.report import Report, table
from dti_sprites.bench.speed.workbench import Workbench, disturb_heads, reference_of
from dti_sprites.cli import main
from dti_sprites.errors import ConfigError
from dti_sprites.models import build_model

CPU = torch.device("cpu")
TINY = Effort(repeats=3, seconds=0.0, reference_seconds=0.0, warm_up=1)
PROMISED = {
    *("case", "device", "threads", "step_s", "encoder_s", "ratio", "images_per_s", "launches", "peak_bytes"),
    "reference_step_s",
}
NAMES = [
    *(
        "kmeans-mnist",
        "kmeans-platform",
        "kmeans-platform-morpho",
        "sprites-platform-k10",
        "sprites-platform-k40",
    ),
    *("sprites-tetro", "sprites-dsprites", "sprites-clevr6", "scaling-k"),
]


@pytest.fixture
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def small(case: Case, k: int = 3, size: int | None = None) -> Case:
    """The same with few prototypes, few and small images."""
    model = case.model | {
        "n_prototypes": k,
        "n_hidden_units": 8,
        "morpho_kernel_size": 3,
        "encoder": "resnet20",
    }
    sprites = dict(case.sprites)
    if case.config().model.sprites.sprite_size is not None:
        sprites["sprite_size"] = 8
    return dataclasses.replace(case, model=model, sprites=sprites, size=size or 12, batch=4)


def one_of_each() -> list[Case]:
    kept = {}
    for case in all_cases():
        kept.setdefault((case.name, case.variant.partition("=")[0]), case)
    return list(kept.values())


def test_the_names_are_those_promised() -> None:
    assert case_names() == NAMES
    assert [case.k for case in all_cases() if case.name == "scaling-k"] == [*SCALING_K, *SCALING_K]
    with pytest.raises(ConfigError, match="there is no kmeans; possible: kmeans-mnist"):
        find_cases(["kmeans"])


@pytest.mark.parametrize("case", one_of_each(), ids=lambda case: f"{case.name} {case.variant}".strip())
def test_every_case_runs(case: Case) -> None:
    row = measure(small(case), CPU, TINY)
    values = vars(row)
    assert values.keys() >= PROMISED
    assert all(values[name] is not None for name in values.keys() - {"mark"})
    assert row.ratio == row.step_s / row.encoder_s
    assert row.images_per_s == 4 / row.step_s
    assert row.repeats == 3
    assert 50 < row.launches < (row.reference_launches or 0)
    assert row.peak_bytes > 100_000


def test_a_step_of_a_coarse_epoch_is_one_at_half_the_resolution() -> None:
    (case, _) = find_cases(["kmeans-platform"])
    bench = Workbench(small(case), CPU, ["training.coarse_epochs=1"])
    seen: list[torch.Size] = []
    bench.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    before = [parameter.detach().clone() for parameter in bench.model.parameters()]
    bench.step()
    bench.encoder_step()
    assert seen == [torch.Size([4, 3, 6, 6])] * 2
    assert not any(torch.equal(a, b) for a, b in zip(before, bench.model.parameters(), strict=True))


@pytest.mark.parametrize("case", one_of_each(), ids=lambda case: f"{case.name} {case.variant}".strip())
@pytest.mark.usefixtures("float64")
def test_the_reference_has_the_loss_and_the_gradients_of_the_library(case: Case) -> None:
    config = small(case, size=11).config()
    model = build_model(config, case.channels, (11, 11))
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (12, case.channels, 11, 11), generator=generator, dtype=torch.uint8)
    model.initialise(images, generator)
    disturb_heads(model, generator, std=0.05)
    with torch.no_grad():
        for parameter in model.prototype_parameters():
            parameter += 0.1 * torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
    model.train()
    model.set_epoch(1_000_000)
    x = images[:5].double() / 255.0
    parameters = list(model.parameters())
    torch.manual_seed(1)
    loss = model.step(x).loss
    ours = torch.autograd.grad(loss, parameters, allow_unused=True)
    torch.manual_seed(1)
    plain = reference_of(model).loss(x)
    theirs = torch.autograd.grad(plain, parameters, allow_unused=True)
    torch.testing.assert_close(loss, plain, rtol=1e-9, atol=1e-12)
    compared = 0
    for a, b in zip(ours, theirs):
        if a is None or b is None:
            assert a is None or not a.any()
            assert b is None or not b.any()
        else:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)
            compared += bool(a.any())
    assert compared > len(parameters) // 2


def test_operators_are_counted_without_views() -> None:
    x = torch.ones(4, 4)

    def work() -> None:
        (x.view(16) * 2.0).unsqueeze(0).exp_()

    assert count_launches(work, CPU) == 2


def test_the_peak_of_memory_is_what_was_held_at_once() -> None:
    def work() -> None:
        for _ in range(3):
            torch.zeros(1000, 1000) + torch.zeros(1000, 1000)

    assert 12_000_000 <= peak_bytes(work, CPU) < 12_100_000


def test_a_reference_that_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_module, "available_bytes", lambda device: 1000.0)
    row = measure(small(all_cases()[0]), CPU, TINY)
    assert row.reference_step_s is None
    assert row.speedup is None
    assert "| - |" in table([vars(row)])


def row_of(case: Case, **changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "case": case.name, "variant": case.variant, "k": 10, "batch": 16, "device": "cpu", "threads": 2,
        "clock": "wall", "options": [], "step_s": 0.2, "encoder_s": 0.1, "ratio": 2.0, "images_per_s": 80.0,
        "launches": 900, "peak_bytes": 2**20, "repeats": 3, "reference_step_s": 0.8, "reference_ratio": 8.0,
        "reference_images_per_s": 20.0, "reference_launches": 4000, "reference_peak_bytes": 2**22, "speedup": 4.0,
        "mark": 1.3,
    }  # fmt: skip
    return Measurement(**{**values, **changes})


def test_rows_of_one_machine_gather_in_one_table(tmp_path: Path) -> None:
    file = tmp_path / "new" / "RESULTS.md"
    facts = {
        "device": "cpu", "device_name": "A", "threads": 2, "python": "3.12", "platform": "L",
        "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    first, second = all_cases()[1], all_cases()[0]
    Report(file, facts).add(row_of(first))
    Report(file, facts).add(row_of(second, ratio=1.25))
    Report(file, facts).add(row_of(first, ratio=1.75))
    scaling = [
        case for case in all_cases() if case.scaling == ("sprites", 10) or case.scaling == ("sprites", 160)
    ]
    for case, seconds in zip(scaling, (0.1, 0.3)):
        Report(file, facts).add(row_of(case, k=case.k, step_s=seconds))
    text = read_section(file, "speed on cpu") or ""
    assert text.index("| kmeans-mnist |") < text.index("| kmeans-platform color_affine |")
    (line,) = [line for line in text.splitlines() if line.startswith("| kmeans-platform color_affine |")]
    assert "| 1.75 | 1.3 |" in line  # measured anew
    assert "| sprites | 160 | 3.00 | 1.00 |" in text
    assert "A, 2 threads" in text
    assert (file.parent / "speed-cpu.svg").read_text().startswith("<svg")
    Report(file, facts | {"threads": 1}).add(row_of(second))
    again = read_section(file, "speed on cpu") or ""
    assert "kmeans-platform" not in again  # measured otherwise: not in one table with these


def test_the_command_prints_json_and_writes_where_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [small(case) for case in all_cases()[:2]]
    monkeypatch.setattr(cases_module, "all_cases", lambda: tiny)
    threads = torch.get_num_threads()
    file = tmp_path / "R.md"
    arguments = [
        "bench",
        "speed",
        "--case",
        "kmeans-mnist",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--quick",
        "--json",
    ]
    try:
        assert main([*arguments, "--clock", "cpu", "--results", str(file)]) == 0
    finally:
        torch.set_num_threads(threads)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["case"], row["device"], row["threads"]) == ("kmeans-mnist", "cpu", 1)
    assert row.keys() >= PROMISED
    assert "kmeans-mnist" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "x"], "there is no x"),
        (["--threads", "0"], "from 1 to 1024"),
        (["--set", "model.nothing=1"], "model.nothing"),
        (["--device", "cuda:77"], "cuda:77 was asked for"),
    ],
)
def test_bad_arguments_are_told_before_anything_is_measured(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "speed", *arguments]) == 2
    assert message in capsys.readouterr().err
