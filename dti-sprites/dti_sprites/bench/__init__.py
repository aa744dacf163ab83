"""Benchmarks: each a command that measures and writes what it found into benchmarks/RESULTS.md."""
