"""Augmentation: changed copies of training rows, and the checks they have to pass."""
