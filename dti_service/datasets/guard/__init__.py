"""The guard: the one place that decides on everything from outside.

Addresses (`addresses`, `http`), archives (`archives`), images and PDFs (`isolation`, `decoding`), JSON (`json_input`)
and names (`names`) are opened here and nowhere else. A refusal is an `errors.GuardError` that names the input, the
reason and the remedy. Nothing is imported here: the isolated process must start quickly.
"""
