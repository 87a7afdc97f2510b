"""Routing: which version answers a request."""
