"""Prometheus metrics, and where their values are kept."""
