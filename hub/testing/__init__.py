"""The conformance tests that a plugin author runs on a task.

Importing this makes pytest explain their bare assertions like those of a test module.
"""

from __future__ import annotations

import sys

if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(
        "hub.testing.conformance", "hub.testing.independence", "hub.testing.samples"
    )
