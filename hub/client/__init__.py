"""Clients of a running server and of the catalog, for the command line."""
