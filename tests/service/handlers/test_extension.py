"""Configuration, start and stop of the extension."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError

from dti_service import __version__
from dti_service.extension import DTIServiceApp
from dti_service.settings import Settings


def test_every_setting_has_a_trait_with_help() -> None:
    traits = DTIServiceApp.class_own_traits(config=True)
    settings = {name.removesuffix("_s") for name in Settings.__dataclass_fields__}
    assert settings <= set(traits)
    assert all(len(trait.help) > 20 for name, trait in traits.items() if name in settings)


def test_traits_take_their_defaults_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = {
        "DTI_DATA_DIR": str(tmp_path),
        "DTI_TIME_LIMIT": "90m",
        "DTI_DEVICES": "cpu",
        "DTI_ALLOW_HOSTS": "a.example, 10.0.0.0/8",
        "DTI_DATASET_ROOTS": str(tmp_path),
        "DTI_MAX_UPLOAD_MB": "7",
        "DTI_RETENTION_DAYS": "30",
        "DTI_PUBLIC_URL": "https://dti.example/",
        "DTI_NOTIFY_SECRET": "s",
        "DTI_DISCOVER_OPEN": "yes",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert DTIServiceApp().service_settings() == Settings.from_env()
    monkeypatch.setenv("DTI_DATA_DIR", "")
    assert DTIServiceApp(time_limit="2h", max_upload_mb=3).service_settings() == Settings.from_env().replace(
        time_limit_s=7200.0, max_upload_mb=3
    )


@pytest.mark.parametrize("trait", [{"time_limit": "long"}, {"devices": "gpu"}, {"max_upload_mb": 0}])
def test_traits_refuse_what_makes_no_sense(trait: dict[str, Any]) -> None:
    with pytest.raises(TraitError):
        DTIServiceApp(**trait).service_settings()


def test_importing_the_package_is_light() -> None:
    code = "import dti_service, sys; print(json.dumps(sorted(sys.modules)))".replace(
        "import", "import json,", 1
    )
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"httpx", "jupyter_server", "tornado", "torch", "prometheus_client"} & set(modules)


def test_the_client_is_part_of_the_package() -> None:
    from dti_service import AsyncClient, Client

    assert Client.__module__ == "dti_service.client.sync"
    assert AsyncClient.__module__ == "dti_service.client.aio"


def test_jupyter_finds_the_extension() -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "jupyter", "server", "extension", "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    text = re.sub(r"\x1b\[\d+m", "", listing.stdout + listing.stderr)
    assert "dti_service enabled" in text
    assert f"dti_service {__version__} OK" in text


async def test_start_and_stop(jp_serverapp: Any) -> None:
    app = jp_serverapp.extension_manager.extension_apps["dti_service"].copy().pop()
    await jp_serverapp.extension_manager.start_all_extensions()
    assert app.background.watch.alive
    assert app.current_activity() is None
    await app.stop_extension()
    assert not app.background.watch.alive


async def test_changes_of_state_are_jupyter_events(jp_serverapp: Any, make: Any) -> None:
    import asyncio

    seen: list[dict[str, Any]] = []

    async def listener(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        seen.append(data)

    schema = "https://events.dti-service.org/experiment/v1"
    jp_serverapp.event_logger.add_listener(schema_id=schema, listener=listener)
    app = jp_serverapp.extension_manager.extension_apps["dti_service"].copy().pop()
    app.run_experiments = False
    await jp_serverapp.extension_manager.start_all_extensions()
    experiment = make("running")
    for _ in range(200):
        if seen and seen[-1]["state"] == "running":
            break
        await asyncio.sleep(0.02)
    assert {event["id"] for event in seen} == {experiment.id}
    assert seen[-1]["state"] == "running"
    assert app.current_activity() == {"experiments": 1}
