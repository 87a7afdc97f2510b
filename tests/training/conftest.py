"""Fixtures of training tests."""

from tests.support.plugins import install
from tests.support.training import bases, labelling, make_recipe, registry, run

__all__ = ["bases", "install", "labelling", "make_recipe", "registry", "run"]
