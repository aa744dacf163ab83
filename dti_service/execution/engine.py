"""The papermill engine ``dti``.

papermill loads this module while its own modules are still being imported (entry point group
``papermill.engine``), so papermill itself is imported only when a notebook is executed.
"""

from __future__ import annotations

from typing import Any


class DTIEngine:
    """The three class methods that papermill asks of an engine."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, **options: Any) -> Any:
        """Execute ``nb`` (an nbformat notebook) with the kernel ``kernel_name``; return it with outputs."""
        from papermill.engines import NBClientEngine

        return NBClientEngine.execute_notebook(nb, kernel_name, **options)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Name of the kernel: ``name``, else the one in the notebook's metadata."""
        from papermill.utils import nb_kernel_name

        return nb_kernel_name(nb, name)

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Language of the notebook: ``language``, else the one in the notebook's metadata."""
        from papermill.utils import nb_language

        return nb_language(nb, language)
