"""Fixtures of training tests."""

from tests.support.plots import plots_are_drawn
from tests.support.training import bases, labelling, make_recipe

__all__ = ["bases", "labelling", "make_recipe", "plots_are_drawn"]
