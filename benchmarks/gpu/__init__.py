"""The engine on a GPU: `python -m benchmarks.gpu`, and what it needs on a machine without network."""
