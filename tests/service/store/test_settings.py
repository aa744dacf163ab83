"""Settings from the environment: read, or refused with the variable's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dti_service.errors import InvalidRequest
from dti_service.settings import Settings, parse_devices, parse_duration

ROOT = Path(__file__).parents[3]
SET_BY_PEOPLE = (
    *(
        "DTI_DATA_DIR",
        "DTI_REDIS_URL",
        "DTI_DEVICES",
        "DTI_TIME_LIMIT",
        "DTI_INSTALLED_DEMOS",
        "DTI_PUBLIC_URL",
    ),
    *("DTI_ALLOW_HOSTS", "DTI_DATASET_ROOTS", "DTI_MAX_UPLOAD_MB", "DTI_RETENTION_DAYS"),
)


def test_values_are_read() -> None:
    settings = Settings.from_env(
        {
            "DTI_DATA_DIR": "/tmp/x",
            "DTI_TIME_LIMIT": "90m",
            "DTI_DEVICES": "cuda:0,cpu",
            "DTI_ALLOW_HOSTS": "a, b:80",
        }
    )
    assert (settings.data_dir, settings.time_limit_s) == (Path("/tmp/x"), 5400.0)
    assert settings.allow_hosts == ("a", "b:80")
    assert parse_devices(settings.devices) == ["cuda:0", "cpu"]


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Settings.from_env({"DTI_TIME_LIMIT": "soon", "DTI_DEVICES": "gpu", "DTI_MAX_UPLOAD_MB": "-1"})
    assert {item["field"] for item in caught.value.errors} == {
        "DTI_TIME_LIMIT",
        "DTI_DEVICES",
        "DTI_MAX_UPLOAD_MB",
    }


def test_an_empty_variable_is_not_set() -> None:
    assert Settings.from_env({"DTI_REDIS_URL": ""}).redis_url is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("45", 45), ("45s", 45), ("1.5m", 90), ("2h", 7200), ("30d", 2592000)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_the_template_names_every_setting_that_people_set() -> None:
    template = (ROOT / ".env.template").read_text()
    for name in SET_BY_PEOPLE:
        assert f"# {name}=" in template
