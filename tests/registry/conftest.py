"""Fixture plugins for one test, in a folder on sys.path."""

from tests.support.plugins import install

__all__ = ["install"]
