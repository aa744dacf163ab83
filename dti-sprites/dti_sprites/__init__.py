"""DTI clustering and DTI-Sprites: discover recurring motifs without labels."""

__version__ = "0.1.0"
