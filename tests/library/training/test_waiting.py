"""Threads wait briefly for each other, unless somebody chose otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dti_sprites.waiting import ROUNDS, VARIABLE, wait_briefly


def test_it_is_set_where_nobody_chose() -> None:
    environment = {"OTHER": "1"}
    wait_briefly(environment)
    assert environment == {"OTHER": "1", VARIABLE: ROUNDS}


@pytest.mark.parametrize("name", [VARIABLE, "OMP_WAIT_POLICY", "KMP_BLOCKTIME"])
def test_a_choice_is_left(name: str) -> None:
    environment = {name: "7"}
    wait_briefly(environment)
    assert environment == {name: "7"}


def test_it_is_set_before_pytorch_is_loaded() -> None:
    code = f"import dti_sprites, os, sys; print(os.environ[{VARIABLE!r}], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert shown.stdout.split() == [ROUNDS, "False"], shown.stderr
