"""Masks known for images against what a finished run of sprites finds, from Python and the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dti_sprites import DataError, RunConfig, load_run, train
from dti_sprites.cli import main
from dti_sprites.evaluation.scenes import scene_metrics

N, SIDE = 6, 16


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder with images/ of a bright square on dark, and masks/ of it."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for i in range(N):
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        mask[2 + i % 3 : 9 + i % 3, 3:11] = 1
        Image.fromarray(np.where(mask, 230, 20).astype(np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(scenes):
    settings = {
        "data": {"image_size": SIDE},
        "model": {
            "kind": "sprites",
            "n_prototypes": 1,
            "transformation_sequence": "identity_affine",
            "encoder": "resnet20",
            "sprites": {"inject_noise": 0.0, "background_transformation_sequence": "identity"},
        },
        "training": {"epochs": 1, "batch_size": 3, "device": "cpu"},
        "results": {"animation": False, "report": False},
    }
    return train(RunConfig.from_dict(settings), scenes / "images", scenes / "run")


def test_masks_are_compared_with_what_is_found(run, scenes):
    scores = run.evaluate_masks(scenes / "images", masks=scenes / "masks", classes=scenes / "masks")
    assert {
        "ari",
        "ari_fg",
        "instance_miou",
        "miou",
        "cosegmentation_accuracy",
        "cosegmentation_iou",
    } <= scores.keys()
    images = torch.from_numpy(run.images()).permute(0, 3, 1, 2)
    found = run.model.infer(images.float() / 255).extras["instance"].numpy() > 0
    truth = np.stack([np.asarray(Image.open(scenes / "masks" / f"{i}.png")) for i in range(N)]) > 0
    assert scores["cosegmentation_accuracy"] == pytest.approx((found == truth).mean())
    assert scores["cosegmentation_iou"] == pytest.approx((found & truth).sum() / (found | truth).sum())


def test_the_command_line(run, scenes, capsys):
    arguments = [
        "evaluate",
        str(run.out),
        "--images",
        str(scenes / "images"),
        "--masks",
        str(scenes / "masks"),
    ]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    again = load_run(run.out, device="cpu").evaluate_masks(scenes / "images", masks=scenes / "masks")
    assert printed == pytest.approx(again)
    assert main(["evaluate", str(run.out)]) == 2
    assert "--labels: give known classes, or --images with --masks" in capsys.readouterr().err
    assert main(["evaluate", str(run.out), "--masks", str(scenes / "masks")]) == 2
    assert "--images: give the images that --masks belongs to" in capsys.readouterr().err


def test_wrong_masks_are_refused(run, scenes, tmp_path):
    (tmp_path / "few").mkdir()
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "few" / "0.png")
    with pytest.raises(DataError, match=r"no mask for 1.png"):
        run.evaluate_masks(scenes / "images", masks=tmp_path / "few")
    with pytest.raises(DataError, match="no known masks"):
        run.evaluate_masks(scenes / "images")


def test_a_model_without_layers_has_no_masks(scenes):
    from dti_sprites.data import ImageSet
    from dti_sprites.models import build_model

    config = RunConfig.from_dict({"model": {"n_prototypes": 2, "encoder": "default"}})
    images = ImageSet(
        torch.zeros(2, 1, 28, 28, dtype=torch.uint8),
        ["a", "b"],
        masks={"instance": torch.zeros(2, 28, 28, dtype=torch.uint8)},
    )
    with pytest.raises(DataError, match="models of kind sprites, not kmeans"):
        scene_metrics(build_model(config, 1, (28, 28)), images)
