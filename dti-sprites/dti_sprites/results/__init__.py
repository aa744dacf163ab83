"""What a finished run leaves behind: the result tree, its tables, its report and its weights.

Everything here works on arrays and files. One pass of the trained model over the images
(`inference.infer_batches`) feeds all of it.
"""

from __future__ import annotations

__all__: list[str] = []
