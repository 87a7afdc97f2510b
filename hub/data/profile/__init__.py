"""Profiles of data files: sniffed columns, anomalies, and the recipe they suggest."""
