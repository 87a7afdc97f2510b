"""Training runs: a recipe in, a stored version out."""
