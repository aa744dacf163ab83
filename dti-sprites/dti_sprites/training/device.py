"""Where to compute."""

from __future__ import annotations

import os
import shutil

import torch

from dti_sprites.config import FastConfig
from dti_sprites.errors import ConfigError
from dti_sprites.models import DTIModel
from dti_sprites.models.encoder import Encoder


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA if there is any, else the CPU. Raises ConfigError if missing."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            have = "has no CUDA device" if not count else f"has {count} CUDA device(s)"
            raise ConfigError(
                [("training.device", f"{name} was asked for, but this machine {have}: take cpu or auto")]
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError([("training.device", "this machine has no MPS device: take cpu or auto")])
    return device


def check_compiler(device: torch.device) -> None:
    """torch.compile on the CPU calls a C++ compiler. Raises ConfigError when there is none."""
    named = os.environ.get("CXX")
    if device.type == "cpu" and not any(
        shutil.which(name) for name in (named, "g++", "clang++", "c++") if name
    ):
        reason = "needs a C++ compiler on the CPU (Debian package g++): install one or set it to false"
        raise ConfigError([("training.fast.compile", reason)])


def prepare_encoder(model: DTIModel, fast: FastConfig, device: torch.device) -> None:
    """Let the model's encoder work as `fast` says. Raises ConfigError when it cannot on `device`."""
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, Encoder):
        return
    encoder.channels_last, encoder.bf16 = fast.channels_last, fast.precision == "bf16"
    if fast.compile:
        check_compiler(device)
        encoder.layers.compile()


class Backends:
    """Context: on CUDA, TF32 only where asked and reproducible convolutions; settings are restored afterwards."""

    def __init__(self, fast: FastConfig) -> None:
        self.tf32 = fast.precision == "tf32"

    def __enter__(self) -> None:
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        self._before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
        matmul.allow_tf32 = cudnn.allow_tf32 = self.tf32
        cudnn.deterministic, cudnn.benchmark = True, False

    def __exit__(self, *exc: object) -> None:
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = self._before
