"""For tests only: tiny bases, and the suite that a plugin author runs on a task.

Importing this makes pytest explain the suite's bare assertions as it explains a test module's own.
"""

from __future__ import annotations

import sys

if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite("hub.testing.conformance", "hub.testing.samples")
