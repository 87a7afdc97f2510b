"""The keys of a recipe that a job may set."""

from __future__ import annotations

import re

__all__ = ["ALLOWED", "RECIPE_KEY"]

RECIPE_KEY = "recipe."  # begins the keys of the metadata that are keys of a recipe

# Dotted keys, or sections as a whole. Not among them: sources and anything else that names a file, a folder,
# an address, a package or a detector to load. What installed plugins provide may be named.
ALLOWED = re.compile(
    r"preset|summary|max_length|serve|options\.\w+|train\.\w+|method\.\w+|evaluate\.\w+|deploy\.\w+"
    r"|augment\.(copies|delete|swap|check|min_kept|length|keep|ablation|fields|seed|others(\.[\w.-]+)?)"
    r"|data\.(eval_fraction|encoding|header|delimiter|quotes|separator|near_duplicates|near_threshold|limit"
    r"|eval_limit|group_by|max_invalid|licence|pii|columns\.\w+|where\.\w+|clean\.\w+"
    r"|labels\.(rename|bins|only|min_rows|other|conflicts)|pii\.(action|language|kinds))"
)
