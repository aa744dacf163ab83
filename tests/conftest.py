"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
import shutil

import pytest


def require_program(name: str) -> str:
    """Path of a program that a test needs; without it the test is skipped, or fails under CI."""
    path = shutil.which(name)
    if path is None:
        reason = f"the program {name} is not installed (Debian package of the same name)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def redis_server() -> str:
    return require_program("redis-server")


@pytest.fixture(scope="session")
def chromium() -> str:
    return require_program("chromium")


@pytest.fixture(scope="session")
def spiped() -> str:
    return require_program("spiped")
