"""The settings that datasets obey, from the server to the processes of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dti_service.datasets.guard.policy import Policy
from dti_service.settings import Settings


def test_a_run_obeys_the_settings_of_its_server(tmp_path: Path) -> None:
    server = Settings(
        data_dir=tmp_path,
        allow_hosts=("front:8000", "10.1.0.0/16"),
        dataset_roots=(tmp_path,),
        max_upload_mb=7,
    )
    run = Settings.from_env({**server.run_variables(), "DTI_DATA_DIR": str(tmp_path)})
    assert Policy.from_settings(run) == Policy.from_settings(server)
    assert Policy.from_settings(run).limits.document_bytes == 7 << 20
    assert Policy.from_settings(run).allow.names("front", 8000)


def test_nothing_is_allowed_by_default(tmp_path: Path) -> None:
    policy = Policy.from_settings(Settings(data_dir=tmp_path))
    assert not policy.allow.hosts
    assert not policy.allow.networks
    assert not policy.roots


def test_nonsense_in_the_allow_list_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="DTI_ALLOW_HOSTS"):
        Policy.from_settings(Settings(data_dir=tmp_path, allow_hosts=("http://x/y",)))
