"""The command dti-sprites: what it prints, writes and returns."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dti_sprites.cli import available_benchmarks, main
from dti_sprites.console import ConsoleProgress, duration
from dti_sprites.presets import list_presets
from dti_sprites.results import layout
from dti_sprites.training import Progress

N, K = 40, 4
SETTINGS = [
    *("--set", f"model.n_prototypes={K}", "--set", "model.transformation_sequence=identity_affine"),
    *("--set", "data.image_size=16", "--set", "training.epochs=2", "--set", "training.curriculum=[1]"),
    *("--set", "training.milestones=[]", "--device", "cpu"),
]


def write_images(folder: Path, first: int = 0) -> Path:
    data = load_digits()
    (folder / "images").mkdir(parents=True)
    lines = ["name,label"]
    for i in range(first, first + N):
        picture = Image.fromarray((data.images[i] * 255 / 16).astype(np.uint8))
        picture.save(folder / "images" / f"{i:03d}.png")
        lines.append(f"{i:03d}.png,{data.target[i]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def run(digits: Path) -> Path:
    out = digits / "run"
    arguments = ["train", "--preset", "digits", "--images", str(digits / "images"), "--out", str(out)]
    assert main([*arguments, "--labels", str(digits / "labels.csv"), "--seed", "3", *SETTINGS]) == 0
    return out


def test_train_writes_results_with_the_settings_given(run: Path) -> None:
    config = (run / layout.CONFIG).read_text(encoding="utf-8")
    assert "n_prototypes: 4" in config
    assert "seed: 3" in config
    metrics = json.loads((run / layout.METRICS).read_text(encoding="utf-8"))
    assert metrics["n_images"] == N
    assert "accuracy" in metrics


def test_train_again_prints_json(run: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--config", str(run / layout.CONFIG), "--images", str(digits / "images")]
    assert main([*arguments, "--out", str(run), "--labels", str(digits / "labels.csv"), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["metrics"]["n_prototypes"] == K
    assert "writing results: 100%" in printed.err


def test_train_from_npz(digits: Path, tmp_path: Path) -> None:
    pictures = (load_digits().images[:20] * 255 / 16).astype(np.uint8)
    np.savez(tmp_path / "set.npz", images=pictures, labels=load_digits().target[:20])
    arguments = [
        "train",
        "--preset",
        "digits",
        "--images",
        str(tmp_path / "set.npz"),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*arguments, *SETTINGS, "--checkpoint", str(tmp_path / "state")]) == 0
    assert "accuracy" in json.loads((tmp_path / "run" / layout.METRICS).read_text(encoding="utf-8"))
    assert any((tmp_path / "state").iterdir())


def test_evaluate(run: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--labels", str(digits / "labels.csv"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n_labelled"] == N
    assert main(["evaluate", str(run), "--labels", str(digits / "labels.csv")]) == 0
    assert f"{figures['accuracy']:.6g}" in capsys.readouterr().out


def test_assign(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_images(tmp_path, first=100) / "images"
    assert main(["assign", str(run), "--images", str(images), "--device", "cpu"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["path"] for row in rows] == [f"{i}.png" for i in range(100, 100 + N)]
    assert {int(row["cluster_id"]) for row in rows} <= set(range(K))

    table = tmp_path / "table.csv"
    assert main(["assign", str(run), "--images", str(images), "--out", str(table), "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["0"]["cluster_id"] == int(rows[0]["cluster_id"])
    assert list(csv.DictReader(table.open(encoding="utf-8"))) == rows


def test_export(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--to", str(tmp_path / "run.zip")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run.zip")
    assert layout.REPORT in zipfile.ZipFile(tmp_path / "run.zip").namelist()
    assert main(["export", str(run)]) == 0
    assert zipfile.is_zipfile(run.with_name("run.zip"))


def test_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [preset.name for preset in list_presets()]
    usps = next(line for line in lines if line.startswith("usps "))
    for told in (
        "usps",
        "K=10",
        "270 epochs of batches of 128",
        "drops at 250",
        "tps from 60, 120, 200",
        "NeurIPS",
    ):
        assert told in usps
    assert main(["presets", "--json"]) == 0
    listed = {preset["name"]: preset for preset in json.loads(capsys.readouterr().out)}
    assert listed["digits"]["description"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--set", "model.n_prototypes=many", "--set", "training.lr=-1"],
            ["model.n_prototypes", "training.lr"],
        ),
        (["--set", "model.colour=1"], ["model.colour"]),
        (["--set", "epochs"], ["section.setting=value"]),
        (["--device", "toaster"], ["training.device"]),
        (["--labels", "missing.csv"], ["missing.csv"]),
        (["--set", "model.n_prototypes=41"], ["too few"]),
    ],
)
def test_bad_settings_are_named_without_a_traceback(
    digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: list[str],
) -> None:
    base = ["train", "--preset", "digits", "--images", str(digits / "images"), "--out", str(tmp_path / "run")]
    assert main([*base, *arguments]) == 2
    printed = capsys.readouterr().err
    assert all(text in printed for text in expected)
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_bad_images_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_images(tmp_path) / "images"
    (images / "broken.png").write_bytes(b"not a picture")
    arguments = ["train", "--preset", "digits", "--images", str(images), "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "  broken.png: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--preset", "nothing-like-this", "--images", "x", "--out", "y"],
        ["train", "--config", "missing.yaml", "--images", "x", "--out", "y"],
        ["train", "--preset", "digits", "--images", "missing", "--out", "y"],
        ["evaluate", "missing", "--labels", "x.csv"],
        ["assign", "missing", "--images", "x"],
        ["export", "missing"],
    ],
)
def test_what_does_not_exist_is_bad_input(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "dti-sprites: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_fails(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["export", str(run), "--to", str(tmp_path / "file" / "run.zip")]) == 1
    assert "file" in capsys.readouterr().err


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--preset", "digits", "--config", "a.yaml", "--images", "x", "--out", "y"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("number", "in_background"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)]
)
def test_interrupted_training_saves_and_says_so(
    digits: Path, tmp_path: Path, number: signal.Signals, in_background: bool
) -> None:
    """`in_background`: as a shell script starts it with an ampersand, Ctrl-C being ignored."""

    def ignore_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    out = tmp_path / "run"
    arguments = [
        "train",
        "--preset",
        "digits",
        "--images",
        str(digits / "images"),
        "--out",
        str(out),
        *SETTINGS,
    ]
    arguments += ["--set", "training.epochs=100000", "--set", "training.checkpoint_every_s=0"]
    command = [sys.executable, "-m", "dti_sprites.cli", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=ignore_interrupts if in_background else None,
    ) as process:
        deadline = time.monotonic() + 120
        while not any(out.glob("checkpoint/0*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "goes on from there" in errors
    assert "Traceback" not in errors
    assert json.loads((out / layout.METRICS).read_text(encoding="utf-8"))["partial"] is True


def test_help_is_quick_to_load() -> None:
    code = (
        "import sys; from dti_sprites.cli import build_parser; build_parser().format_help();"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["train"],
        ["evaluate"],
        ["assign"],
        ["export"],
        ["presets"],
        *(["bench", name] for name in available_benchmarks()),
    ],
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage:" in capsys.readouterr().out


def progress_at(iteration: int, loss: float | None = 0.5) -> Progress:
    return Progress(iteration, 100, iteration // 10, 10, loss, 65.0)


def test_progress_in_a_log_is_a_line_now_and_then() -> None:
    stream = io.StringIO()
    console = ConsoleProgress(stream)
    for iteration in range(101):
        console.on_progress(progress_at(iteration))
    console.close()
    assert stream.getvalue().splitlines() == [
        "training:   0%, epoch 0/10, loss 0.5, 1 min 05 s left",
        "training: 100%, epoch 10/10, loss 0.5",
    ]


def test_progress_on_a_terminal_is_one_line() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    console = ConsoleProgress(stream)
    console.on_progress(progress_at(0, None))
    console.on_progress(progress_at(100))
    console.close()
    assert stream.getvalue().count("\r") == 2
    assert stream.getvalue().count("\n") == 1
    assert "[########################] 100%" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
