"""Base models: where they come from, their fingerprints, the local cache."""
