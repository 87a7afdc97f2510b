"""Fixtures of serving tests."""

from tests.support.serving import add, home, start, store, tiny_base_folder, watching
from tests.support.waiting import until_fixture

__all__ = ["add", "home", "start", "store", "tiny_base_folder", "until_fixture", "watching"]
