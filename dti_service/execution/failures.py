"""What an exception that ended a run means to the person who started it: {kind, message, cell}."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection
from typing import Any

LONGEST_MESSAGE = 600
BAD_INPUT = {"ConfigError", "DataError", "GuardError", "FetchError", "InvalidRequest"}
ABOUT_IMAGES = {"DataError", "GuardError", "FetchError"}
OUT_OF_MEMORY = {"MemoryError", "OutOfMemoryError", "_ArrayMemoryError"}

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NO_MEMORY = re.compile(
    r"CUDA out of memory|not enough memory|can't allocate memory|CUDNN_STATUS_ALLOC_FAILED"
)

Failure = dict[str, Any]


def cell_error(ename: str, evalue: str, cell: int | None, declared: Collection[str] = ()) -> Failure:
    """An exception in the notebook, told by the name of its class. `declared`: the notebook's parameters."""
    text = one_line(evalue)
    if ename in BAD_INPUT:
        return failure("bad_input", _by_parameter(text, ename in ABOUT_IMAGES, declared) or ename, cell)
    if ename in OUT_OF_MEMORY or _NO_MEMORY.search(text):
        return failure("out_of_memory", f"The run needs more memory than there is: {text or ename}", cell)
    return failure("user_error", f"{ename}: {text}" if text else ename, cell)


def _by_parameter(text: str, about_images: bool, declared: Collection[str]) -> str:
    """The library's settings are called model.n_prototypes and the like; people know the parameters of the notebook."""
    text = re.sub(
        r"(?<![\w./])(?:[a-z_]+\.)+([a-z_]+)\b",
        lambda name: name[1] if name[1] in declared else name[0],
        text,
    )
    named = any(re.search(rf"(?<![\w./]){name}\b", text) for name in declared)
    return f"dataset: {text}" if about_images and "dataset" in declared and not named else text


def kernel_death(how: str, cell: int | None, *, for_memory: bool) -> Failure:
    """The kernel's process ended by itself; `how` as in "killed by SIGKILL"."""
    if for_memory:
        message = "The system ran out of memory and ended the notebook's kernel: use fewer or smaller images."
        return failure("out_of_memory", message, cell)
    hint = "; a lack of memory is a common reason" if "SIGKILL" in how else ""
    return failure("kernel_died", f"The notebook's kernel died ({how}){hint}.", cell)


def internal_error(error: BaseException) -> Failure:
    """The notebook could not be run at all."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return failure("user_error", "The disk is full: delete old experiments, then run it again.", None)
    return failure("user_error", f"The notebook could not be run: {type(error).__name__}: {error}", None)


def failure(kind: str, message: str, cell: int | None = None) -> Failure:
    return {"kind": kind, "message": one_line(message), "cell": cell}


def one_line(text: str) -> str:
    """Without colours and line ends, of a readable length."""
    text = " ".join(_ANSI.sub("", str(text)).split())
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."
