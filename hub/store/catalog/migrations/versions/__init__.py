"""The schema of the catalog, one file a version."""
