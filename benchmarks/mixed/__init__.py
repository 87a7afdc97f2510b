"""Parts of `python -m benchmarks.mixed_batch`; each gives rows for the table and figures."""
