"""Engines: run rows of many adapters, tasks and head kinds on one resident base."""
