"""Results as corrected by people: named readings of a run, kept beside it. The raw result is never touched.

A reading is a JSON document: the list of what was done (`operations`, each with what was before and after, and
`cursor`, how many of them count), and the `state` that it leads to, which is all that the exports here read.
"""

from dti_service.curations.documents import check_document
from dti_service.curations.store import RAW, Curations, PreconditionFailed
from dti_service.curations.table import COLUMNS, Reading, read_reading

__all__ = ["COLUMNS", "RAW", "Curations", "PreconditionFailed", "Reading", "check_document", "read_reading"]
