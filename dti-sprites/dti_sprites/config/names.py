"""Names of the transformations and how a sequence of them is written.

A sequence is a string of names joined by "_", applied to the prototype from left to right:
`identity_affine_tps`. Each name has short forms (`id`, `aff`, ...).
"""

from __future__ import annotations

# Canonical name -> its other spellings. The order is the one in which forms show them.
TRANSFORMATIONS: dict[str, tuple[str, ...]] = {
    "identity": ("id",),
    "color": ("col",),
    "linearcolor": (),  # scale per channel, without the bias
    "affine": ("aff",),
    "position": ("pos",),  # scale exp(s) + 1 and translation
    "similarity": ("sim",),
    "rotation": (),
    "translation": (),
    "isotranslation": (),  # one scale for both axes and a translation
    "projective": ("proj", "homography"),
    "tps": ("thinplatespline",),
    "morpho": ("morphological",),
}

_CANONICAL = {alias: name for name, aliases in TRANSFORMATIONS.items() for alias in (name, *aliases)}


def parse_sequence(sequence: str) -> list[str]:
    """Canonical names of a sequence written as "identity_affine_tps".

    Raises ValueError, with the names that are possible, for an empty sequence, an unknown name or a name
    that is given twice.
    """
    names: list[str] = []
    for word in sequence.strip().lower().split("_"):
        name = _CANONICAL.get(word)
        if name is None:
            raise ValueError(f"unknown transformation {word!r}; possible: {', '.join(TRANSFORMATIONS)}")
        if name in names:
            raise ValueError(f"{name!r} is given twice")
        names.append(name)
    return names
