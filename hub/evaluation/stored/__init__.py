"""Evaluation of versions that are in the store."""
