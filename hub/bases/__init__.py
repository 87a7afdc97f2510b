"""Base models: sources, fingerprints and the local cache."""
