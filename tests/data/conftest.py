"""Fixtures of training tests."""

from tests.support.training import bases, labelling, make_recipe

__all__ = ["bases", "labelling", "make_recipe"]
