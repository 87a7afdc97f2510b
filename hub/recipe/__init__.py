"""Recipes: the YAML file that describes a training run, its sections, schema and errors."""
