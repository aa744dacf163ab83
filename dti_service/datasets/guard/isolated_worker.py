"""The isolated process itself: `python -m dti_service.datasets.guard.isolated_worker`.

Reads one JSON request per line from standard input, `{"call": name, "arguments": {...}, "cpu_s": n}`, and answers
with one line. Ends with its standard input, so it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _allow_cpu(seconds: int) -> None:
    """So many seconds of processor from now on; the kernel ends the process after them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def main() -> None:
    memory, file_bytes = int(sys.argv[1]), int(sys.argv[2])
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    # Answers go to a copy of standard output; what libraries print must not mix with them.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    from dti_service.datasets.guard import decoding

    pdf = decoding.Pdf()
    calls: dict[str, Any] = {
        "check_image": decoding.check_image,
        "make_thumbnail": decoding.make_thumbnail,
        "cut": decoding.cut,
        "pdf_info": pdf.info,
        "pdf_page": pdf.page,
    }
    for line in sys.stdin:
        request = json.loads(line)
        _allow_cpu(request["cpu_s"])
        try:
            answer = {"result": calls[request["call"]](**request["arguments"])}
        except decoding.Refused as error:
            answer = {"reason": error.args[0], "remedy": error.args[1]}
        except MemoryError:
            answer = {"reason": "decoding it takes too much memory", "remedy": "make it smaller"}
        except OSError as error:
            answer = {"reason": f"it cannot be read or written ({error.strerror})", "remedy": "try again"}
        except Exception as error:
            answer = {"reason": f"cannot be decoded ({type(error).__name__})", "remedy": "save it again"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
