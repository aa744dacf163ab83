"""The demos that come with the service: the DTI notebooks, declared as any package declares its own."""

from __future__ import annotations

from dti_service import __version__
from dti_service.demo_checks import check_clustering, check_discover, check_launch, check_sprites
from dti_service.demos import Check, Demo, notebooks_dir

_DEMOS: tuple[tuple[str, str, Check | None], ...] = (
    ("dti_clustering", "DTI clustering", check_clustering),
    ("dti_sprites", "DTI-Sprites", check_sprites),
    ("dti_discover", "DTI for the DISCOVER platform", check_discover),
    ("assign_images", "Label new images", None),
    ("explore_experiment", "Explore an experiment", None),
    ("launch", "Launch and compare experiments", check_launch),
)

DEMO = [
    Demo(name, notebooks_dir() / f"{name}.ipynb", title, check, version=__version__)
    for name, title, check in _DEMOS
    if (notebooks_dir() / f"{name}.ipynb").is_file()
]
