"""Python, PyTorch, torchvision, the kernel and the notebooks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from dti_service.doctor.check import Check
from dti_service.settings import Settings

SLOW_S = 300.0  # the first import of PyTorch after a start of the machine

# In another process: importing torch here would make every check wait for it, and CUDA may abort the process.
TORCH = """
import json, os
found = {}
try:
    import torch
    found["torch"] = torch.__version__
    found["cuda"] = torch.version.cuda
    found["devices"] = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = torch.cuda.get_device_name(number)
        try:
            one = torch.ones(64, 64, device=f"cuda:{number}")
            problem = "" if float((one @ one).sum()) == 64 ** 3 else "computes wrong results"
        except RuntimeError as error:
            problem = str(error).splitlines()[0]
        found["devices"].append([name, problem])
except Exception as error:
    found["torch_error"] = f"{type(error).__name__}: {error}"
else:
    try:
        import torchvision
        from torchvision.models import resnet18
        found["torchvision"] = torchvision.__version__
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
        resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32))
    except Exception as error:
        found["torchvision_error"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(found))
"""
TOGETHER = "Install both again from one index: pip install --force-reinstall torch torchvision"


def python(_: Settings) -> Iterator[Check]:
    version = sys.version_info[:2]
    found = f"{version[0]}.{version[1]} at {sys.executable}"
    yield Check("Python", (3, 11) <= version <= (3, 13), found, "Use Python 3.11, 3.12 or 3.13.")


def torch(_: Settings) -> Iterator[Check]:
    result = subprocess.run([sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=SLOW_S)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or [f"it ended with code {result.returncode}"])[-1]
        yield Check("PyTorch", False, last, TOGETHER)
        return
    found = json.loads(result.stdout.splitlines()[-1])
    if "torch_error" in found:
        yield Check("PyTorch", False, found["torch_error"], TOGETHER)
        return
    built = f"CUDA {found['cuda']}" if found["cuda"] else "for the CPU"
    yield Check("PyTorch", True, f"torch {found['torch']}, {built}")
    problem = found.get("torchvision_error", "")
    yield Check("torchvision", not problem, problem or f"torchvision {found['torchvision']}", TOGETHER)
    yield from cuda(found["cuda"], found["devices"])


def cuda(build: str | None, devices: list[tuple[str, str]]) -> Iterator[Check]:
    """Does PyTorch compute on every GPU that the driver has?"""
    from dti_service.devices import cuda_devices

    driver = cuda_devices()
    remedy = "Compare nvidia-smi with CUDA_VISIBLE_DEVICES; look for errors of the GPU with dmesg."
    if not devices and driver:
        if build is None:
            remedy = f"PyTorch is built for the CPU. {TOGETHER}"
        else:
            remedy = f"Update the NVIDIA driver for CUDA {build}, or install a PyTorch for an earlier CUDA."
        yield Check("CUDA", False, f"the driver has {len(driver)} GPUs, PyTorch sees none", remedy)
        return
    broken = [
        f"cuda:{number} ({name}): {problem}" for number, (name, problem) in enumerate(devices) if problem
    ]
    names = ", ".join(name for name, _ in devices) or "no CUDA device: experiments run on the CPU"
    yield Check("CUDA", not broken, "; ".join(broken) or names, remedy)


def kernel(_: Settings) -> Iterator[Check]:
    """Is there a kernel python3, and can its Python load what the notebooks import?"""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    install = f"{sys.executable} -m ipykernel install --sys-prefix"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield Check("kernel", False, "no kernel named python3", f"Run: {install}")
        return
    # Jupyter starts its own Python for a kernel that only says "python".
    own = {"python", "python3", f"python3.{sys.version_info[1]}"}
    program = sys.executable if spec.argv[0] in own else spec.argv[0]
    remedy = f"{spec.resource_dir} is not of this installation: remove it (jupyter kernelspec list), or run: {install}"
    names = ("ipykernel", "dti_service", "dti_sprites")
    code = f"import importlib.util as u; print(*(n for n in {names} if not u.find_spec(n)))"
    try:
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, timeout=60)
    except OSError as error:
        yield Check("kernel", False, f"{program} cannot be started: {error.strerror}", remedy)
        return
    missing = done.stdout.strip() if done.returncode == 0 else done.stderr.strip()[-200:] or "it failed"
    yield Check(
        "kernel", not missing, f"{program} lacks {missing}" if missing else f"python3: {program}", remedy
    )


def notebooks(settings: Settings) -> Iterator[Check]:
    """Can the notebooks be found, their parameters be read, and their routes be used?"""
    from dti_service.demos import Demo, find_demos
    from dti_service.execution.parameters import NotebookError, notebook_schema
    from dti_service.handlers.demos import routes_of

    good, broken = [], {}
    for name, demo in sorted(find_demos(settings.installed_demos).items()):
        if not isinstance(demo, Demo):
            broken[name] = demo.reason
            continue
        try:
            notebook_schema(demo.notebook)
            routes_of(demo)
            good.append(name)
        except (NotebookError, OSError) as error:
            broken[name] = str(error)
        except Exception as error:  # whatever the module of its routes does
            broken[name] = f"its routes: {type(error).__name__}: {error}"
    remedy = "Reinstall dti-service: its notebooks are missing."
    yield Check("notebooks", bool(good), ", ".join(good) or "none found", remedy)
    for name, reason in broken.items():
        remedy = "Repair or uninstall the package that provides it (DTI_INSTALLED_DEMOS)."
        yield Check(f"notebook {name}", False, reason, remedy)
