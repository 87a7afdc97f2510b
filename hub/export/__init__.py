"""Standalone models: one adapter merged into its base, for use where there is no hub."""
