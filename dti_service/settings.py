"""Settings of the service: one value, read from the environment or from traits of the server extension."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dti_service.errors import InvalidRequest
from dti_service.profile import PROFILES

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}


@dataclass(frozen=True)
class Settings:
    """Every field has an environment variable DTI_<NAME> and a trait of the same meaning."""

    data_dir: Path = Path("data")  # where experiments, datasets and the index live
    redis_url: str | None = None  # None: the local dispatcher
    devices: str = "auto"  # every CUDA device, else one CPU slot; or a list: cuda:0,cuda:1
    time_limit_s: float = 24 * 3600.0  # longest time of one run
    installed_demos: tuple[str, ...] = ()  # packages that provide further notebooks
    public_url: str | None = None  # how browsers and fronts reach this server
    allow_hosts: tuple[str, ...] = ()  # hosts that URLs may name besides public ones
    dataset_roots: tuple[Path, ...] = ()  # folders that REST clients may name as a dataset
    max_upload_mb: int = 2048
    retention_days: float = 0.0  # 0: finished experiments are never removed by themselves
    dataset_retention_days: float = 0.0  # 0: datasets that no experiment uses are never removed by themselves
    quota_gb: float = 0.0  # what all experiments and datasets may fill; 0: no limit
    user_quota_gb: float = 0.0  # what those of one user may fill; 0: no limit
    user_experiments: int = 0  # how many of one user may wait or run; 0: no limit
    user_running: int = 0  # how many of one user run at once, on all machines; 0: no limit
    owner_only: bool = (
        False  # who did not submit an experiment may look at it, but not change, cancel or delete it
    )
    admins: tuple[str, ...] = ()  # users to whom `owner_only` does not apply
    min_free_gb: float = 0.2  # free space without which nothing is queued, and no run starts
    max_attempts: int = 3  # how often a run is started again after a crash
    warm_kernels: bool = False  # keep a kernel with the libraries loaded ready for the next run
    notify_secret: str | None = None  # callbacks are signed with it
    discover_open: bool = False  # /clustering/*, /datasets/* and /test need no token
    profile: str = "development"  # or "production": dangerous combinations are refused at start
    log_json: bool = False  # one JSON object a line
    log_dir: Path | None = None  # rotating files of each server and worker, besides standard error
    x_accel: str | None = None  # the location of nginx through which it sends files of the data directory

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_dir", Path(self.data_dir).expanduser().resolve())

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read DTI_* variables; empty ones count as not set. Raises InvalidRequest naming the variable."""
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        problems = []
        for name, read in _READERS.items():
            text = environment.get(variable(name), "").strip()
            if not text:
                continue
            try:
                values[name] = read(text)
            except ValueError as error:
                problems.append({"field": variable(name), "reason": str(error)})
        if problems:
            raise InvalidRequest("The settings cannot be used", problems)
        return cls(**values)

    def replace(self, **changes: Any) -> Settings:
        return dataclasses.replace(self, **changes)

    def run_variables(self) -> dict[str, str]:
        """What the processes of a run must know to fetch images as this server would, as environment variables."""
        return {
            "DTI_ALLOW_HOSTS": ",".join(self.allow_hosts),
            "DTI_DATASET_ROOTS": ",".join(map(str, self.dataset_roots)),
            "DTI_MAX_UPLOAD_MB": str(self.max_upload_mb),
            "DTI_LOG_JSON": str(self.log_json).lower(),
        }

    @property
    def experiments_dir(self) -> Path:
        return self.data_dir / "experiments"


def parse_duration(text: str) -> float:
    """Seconds of "90s", "15m", "12h", "30d" or a plain number of seconds. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip().lower())
    if not match:
        raise ValueError(f"must be a time such as 90s, 15m, 24h or 30d, not {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def parse_devices(text: str) -> list[str] | None:
    """["cuda:0", "cuda:1"], or None for "auto". Raises ValueError."""
    if text.strip().lower() in {"", "auto"}:
        return None
    devices = [item.strip().lower() for item in text.split(",") if item.strip()]
    wrong = [device for device in devices if not re.fullmatch(r"cpu|cuda:\d+", device)]
    if wrong or len(set(devices)) != len(devices):
        raise ValueError(f"must be auto, or different devices such as cpu or cuda:0,cuda:1, not {text!r}")
    return devices


def _devices(text: str) -> str:
    parse_devices(text)
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"must be a number, not negative, not {text!r}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"must be a whole number, at least 1, not {text!r}")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"must be a whole number, not negative, not {text!r}")
    return int(text)


def _flag(text: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if text.lower() not in words:
        raise ValueError(f"must be true or false, not {text!r}")
    return words[text.lower()]


def _profile(text: str) -> str:
    if text not in PROFILES:
        raise ValueError(f"must be {' or '.join(PROFILES)}, not {text!r}")
    return text


def _location(text: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9_./-]+", text):
        raise ValueError(f"must be a location of nginx such as /_dti_files, not {text!r}")
    return text.rstrip("/")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"DTI_{name.removesuffix('_s').upper()}"


_READERS: dict[str, Any] = {
    "data_dir": Path,
    "redis_url": str,
    "devices": _devices,
    "time_limit_s": parse_duration,
    "installed_demos": _list,
    "public_url": str,
    "allow_hosts": _list,
    "dataset_roots": lambda text: tuple(Path(item).expanduser().resolve() for item in _list(text)),
    "max_upload_mb": _count,
    "retention_days": _number,
    "dataset_retention_days": _number,
    "quota_gb": _number,
    "user_quota_gb": _number,
    "user_experiments": _whole,
    "user_running": _whole,
    "owner_only": _flag,
    "admins": _list,
    "min_free_gb": _number,
    "max_attempts": _count,
    "warm_kernels": _flag,
    "notify_secret": str,
    "discover_open": _flag,
    "profile": _profile,
    "log_json": _flag,
    "log_dir": lambda text: Path(text).expanduser().resolve(),
    "x_accel": _location,
}
