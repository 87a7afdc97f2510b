"""Uploaded files and training jobs: their rows in the catalog, and the files' contents in the home."""
