"""The process of `Fitter`: `python -m dti_service.fitting.worker`.

Reads one JSON request per line from standard input and answers with one line. Ends with its standard input, so it
never outlives the server. The models of the last few runs stay loaded.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS_KEPT = 2


def _write(path: Path, picture: Any) -> None:
    """Write (H, W, C) uint8 as PNG; a reader sees the whole file or none."""
    from dti_sprites.results.images import write_image

    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write_image(partial, picture)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@functools.lru_cache(MODELS_KEPT)
def _run(results: str, version: int) -> Any:
    from dti_sprites import load_run

    return load_run(results, device="cpu")


def _load(results: str) -> Any:
    weights = Path(results) / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError("this run left no model")
    return _run(results, weights.stat().st_mtime_ns)


def fit(results: str, image: int, prototype: int, to: str) -> dict[str, Any]:
    """Write the prototype as fitted to the image; {"distance"}."""
    from dti_sprites.results.refit import refit

    found = refit(_load(results), [image], [prototype])
    _write(Path(to), found.pictures[0])
    return {"distance": float(found.distances[0])}


def layers(results: str, image: int, folder: str) -> dict[str, Any]:
    """Write the parts of an image; {"background": number or None, "layers": [{"sprite", "share"}]}."""
    from dti_sprites.results.refit import decompose

    found = decompose(_load(results), image)
    target = Path(folder)
    for number, layer in enumerate(found.layers, start=1):
        grey = layer.picture.shape[-1] == 2
        picture = layer.picture[..., [0, 0, 0, 1]] if grey else layer.picture
        _write(target / f"{image}_layer{number}.png", picture)
    if found.background is not None:
        _write(target / f"{image}_background.png", found.background)
    facts = {
        "background": found.background_number,
        "layers": [
            {"sprite": layer.sprite, "share": round(float((layer.picture[..., -1] > 127).mean()), 4)}
            for layer in found.layers
        ],
    }
    return facts


CALLS: dict[str, Callable[..., dict[str, Any]]] = {"fit": fit, "layers": layers}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = CALLS[request.pop("call")](**request)
        except MemoryError:
            raise SystemExit(1) from None
        except Exception as error:
            answer = {"error": f"The model cannot say: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
