"""Fixtures of training tests."""

from tests.support.training import bases, labelling, make_recipe, registry, run

__all__ = ["bases", "labelling", "make_recipe", "registry", "run"]
