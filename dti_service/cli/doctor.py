"""`dti doctor`: checks this machine; each problem comes with what to do about it."""

from __future__ import annotations

import argparse
import fcntl
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dti_service.cli.backend import open_settings
from dti_service.cli.output import print_json

MINIMUM_FREE_GB = 2.0


@dataclass(frozen=True)
class Check:
    """The outcome of one check; `remedy` says what to do when it is not ok."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def doctor_command(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every check passes, else 1."""
    checks = list(run_checks(open_settings(arguments)))
    if arguments.json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            print(f"[{'ok' if check.ok else 'PROBLEM'}] {check.name}: {check.found}")
            if not check.ok:
                print(f"          {check.remedy}")
    return 0 if all(check.ok for check in checks) else 1


def run_checks(settings: Any) -> Iterator[Check]:
    for check in (_python, _torch, _kernel, _demos, _data_directory, _disk, _redis):
        try:
            yield from check(settings)
        except Exception as error:
            yield Check(
                check.__name__.strip("_"),
                False,
                f"{type(error).__name__}: {error}",
                "This check itself failed; please report it.",
            )


def _python(_: Any) -> Iterator[Check]:
    version = sys.version_info[:2]
    yield Check(
        "Python",
        (3, 11) <= version <= (3, 13),
        f"{version[0]}.{version[1]} at {sys.executable}",
        "Use Python 3.11, 3.12 or 3.13.",
    )


def _torch(_: Any) -> Iterator[Check]:
    # In another process: importing torch here would make every check wait for it, and CUDA may abort the process.
    code = (
        "import json, torch, torchvision\n"
        "from torchvision.models import resnet18\n"
        "cuda = torch.cuda.is_available()\n"
        "resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32))\n"
        "print(json.dumps({'torch': torch.__version__, 'torchvision': torchvision.__version__,\n"
        "  'devices': [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        yield Check(
            "PyTorch",
            False,
            last,
            "Reinstall torch and torchvision together: pip install --force-reinstall torch torchvision",
        )
        return
    found = json.loads(result.stdout.splitlines()[-1])
    yield Check("PyTorch", True, f"torch {found['torch']}, torchvision {found['torchvision']}")
    driver = shutil.which("nvidia-smi") is not None
    yield Check(
        "CUDA",
        bool(found["devices"]) or not driver,
        ", ".join(found["devices"]) or "no CUDA device: experiments run on the CPU",
        "A driver is installed but PyTorch sees no device: check nvidia-smi, CUDA_VISIBLE_DEVICES and torch's build.",
    )


def _kernel(_: Any) -> Iterator[Check]:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield Check(
            "kernel", False, "no kernel named python3", f"{sys.executable} -m ipykernel install --sys-prefix"
        )
        return
    yield Check("kernel", True, f"python3: {' '.join(spec.argv[:1])}")


def _demos(settings: Any) -> Iterator[Check]:
    from dti_service.service import Service

    listing = Service(settings).notebooks()
    names = ", ".join(item["name"] for item in listing["items"] if not item.get("error"))
    broken = [item for item in listing["items"] if item.get("error")]
    yield Check(
        "notebooks", bool(names), names or "none found", "Reinstall dti-service: its notebooks are missing."
    )
    for item in broken:
        yield Check(
            f"notebook {item['name']}",
            False,
            item["error"],
            "Repair or uninstall the package that provides it.",
        )


def _data_directory(settings: Any) -> Iterator[Check]:
    folder = Path(settings.data_dir)
    remedy = "Set DTI_DATA_DIR to a folder that this user may write to and where file locks and atomic renames work."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as scratch:
            problem = _probe(Path(scratch))
    except OSError as error:
        problem = str(error)
    yield Check(
        "data directory", not problem, problem or f"{folder} (writable, locks and renames work)", remedy
    )


def _probe(folder: Path) -> str:
    """Do atomic rename and file locks work here? Returns the problem, or an empty text."""
    one, two = folder / "one", folder / "two"
    one.write_text("1")
    two.write_text("2")
    os.replace(one, two)
    if two.read_text() != "1":
        return f"a rename in {folder.parent} did not replace the file"
    exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
    with open(two) as first, open(two) as second:
        fcntl.flock(first, exclusive)
        try:
            fcntl.flock(second, exclusive)
        except BlockingIOError:
            return ""
    return f"file locks do not exclude each other in {folder.parent}"


def _disk(settings: Any) -> Iterator[Check]:
    folder = Path(settings.data_dir)
    usage = shutil.disk_usage(folder if folder.exists() else folder.parent)
    free = usage.free / 1e9
    yield Check(
        "disk space",
        free >= MINIMUM_FREE_GB,
        f"{free:.1f} GB free",
        "Free some space (`dti cleanup --older-than 30d`), or move DTI_DATA_DIR to a larger disk.",
    )


def _redis(settings: Any) -> Iterator[Check]:
    if not settings.redis_url:
        yield Check("queue", True, "local (no Redis needed)")
        return
    import redis

    try:
        client = redis.Redis.from_url(settings.redis_url, socket_timeout=5)
        info = client.info()
        policy = str(client.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction"))
    except redis.RedisError as error:
        yield Check("Redis", False, str(error), "Start redis-server, or correct DTI_REDIS_URL.")
        return
    yield Check("Redis", True, f"version {info['redis_version']}")
    yield Check(
        "Redis persistence",
        bool(info.get("aof_enabled")),
        "append-only file on" if info.get("aof_enabled") else "append-only file off",
        "Set `appendonly yes` so that the queue survives a restart without waiting for recovery.",
    )
    yield Check(
        "Redis eviction",
        policy == "noeviction",
        policy,
        "Set `maxmemory-policy noeviction`: evicted keys are lost jobs.",
    )


def versions() -> dict[str, str]:
    """Versions of the packages that decide how a run behaves."""
    names = (
        "dti-service",
        "dti-sprites",
        "torch",
        "torchvision",
        "papermill",
        "jupyter_server",
        "ipykernel",
        "rq",
    )
    return {name: importlib.metadata.version(name) for name in names}
