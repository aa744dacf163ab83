"""Run DTI notebooks as durable experiments from a Jupyter server."""

__version__ = "0.1.0"
