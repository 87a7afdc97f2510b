"""The sections of a recipe, one model a file."""
