"""Readers of data files: CSV, JSON, Parquet, folders and translation files."""
