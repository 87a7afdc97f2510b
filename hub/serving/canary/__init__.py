"""Canaries and shadows: observation, guards and the answer log."""
