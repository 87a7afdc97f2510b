"""Moves versions between hubs, and backs up and restores a hub as a whole."""
