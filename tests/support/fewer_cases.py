"""A hook of schemathesis: of the wrong types for a field, it sends every third, in turn over the operations.

Half of all cases of its coverage phase are a field of a wrong type, and the models are largely the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from zlib import crc32

import schemathesis
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario

SHARE = 3
_seen: Counter[str] = Counter()


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Return whether a case is sent."""
    about = case.meta.phase.data if case.meta else None
    if not isinstance(about, CoveragePhaseData) or about.scenario is not CoverageScenario.INCORRECT_TYPE:
        return True
    field = f"{case.operation.label} {about.parameter_location} {about.parameter} {about.location}"
    _seen[field] += 1
    return (crc32(field.encode()) + _seen[field]) % SHARE == 0
