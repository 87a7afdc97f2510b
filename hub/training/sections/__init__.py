"""The sections of a recipe, one module each; `hub.training.recipe` puts them together."""
