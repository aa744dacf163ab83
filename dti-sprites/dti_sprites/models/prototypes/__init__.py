"""Prototypes: where they start, and how rows of parameters are copied when one restarts."""
