"""Matches the patterns in a PEFT config in linear time; PEFT itself receives plain module names.

PEFT matches regular expressions by backtracking, which an untrusted config can make take hours. RE2
(https://github.com/google/re2) takes time linear in the length of the name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hub.errors import BadAdapter, UnsupportedAdapter

__all__ = ["NO_LAYERS", "Matcher", "adapted_modules", "check_patterns", "explicit_config", "matcher"]

MAX_NAMES = 20_000  # entries that are plain names
MAX_PATTERNS = 64  # entries that are patterns
MAX_LENGTH = 2000  # characters of one; some configs name every module in one pattern
ALL_LINEAR = "all-linear"
_PREFIX = "base_model.model."
_RE2_DIFFERS = re.compile(r"\{,|\[\[?:|\\[QEpPCzZ]")  # RE2 and Python differ in this syntax
_LITERAL = re.compile(r"\w[\w-]*(?:\.\w[\w-]*)*")  # dots are literal here; PEFT reads them as any character
# The names of tensors that methods put below a module, such as `query.lora_A.weight`.
_PART = re.compile(
    r"(?P<module>.+?)\.(?:lora_|ia3_l|hada_|lokr_|oft_|vera_lambda_|fourierft_|hra_|randlora_)[^.]*(?:\..*)?"
)
_PATTERNS = ("target_modules", "exclude_modules", "feedforward_modules", "layers_pattern", "modules_to_save")
_NUMBERS = {"rank_pattern": "r", "alpha_pattern": "lora_alpha", "n_frequency_pattern": "n_frequency"}
NO_LAYERS = "dummy-target-modules"  # PEFT's name for the targets of an adapter that only trains whole modules


class Matcher:
    """Finds the first of some patterns that matches the end of a module's path, as PEFT does for ranks."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile the patterns.

        Raises:
            UnsupportedAdapter: there are too many, or one is too long, malformed or needs backtracking.
        """
        self._names: dict[str, int] = {}
        self._patterns: list[tuple[int, Any]] = []
        for place, pattern in enumerate(patterns):
            if _LITERAL.fullmatch(pattern):
                self._names.setdefault(pattern, place)
            else:
                self._patterns.append((place, _compiled(rf"(?:.*\.)?(?:{pattern})", pattern)))
        if len(self._names) > MAX_NAMES or len(self._patterns) > MAX_PATTERNS:
            raise UnsupportedAdapter(
                f"The config has {len(patterns):,} names and patterns of modules; the limits are "
                f"{MAX_NAMES:,} names and {MAX_PATTERNS} patterns."
            )

    def first(self, module: str) -> int | None:
        """Return the index of the first pattern that matches, or None."""
        places = [self._names[end] for end in _ends(module) if end in self._names]
        places += [place for place, compiled in self._patterns if compiled.fullmatch(module)]
        return min(places, default=None)


def _ends(module: str) -> Iterator[str]:
    """Yield the path of a module and all its suffixes."""
    parts = module.split(".")
    return (".".join(parts[start:]) for start in range(len(parts)))


@lru_cache(8)
def matcher(patterns: tuple[str, ...]) -> Matcher:
    """Return a matcher of these patterns. Raises: as `Matcher`."""
    return Matcher(patterns)


def check_patterns(config: Mapping[str, Any]) -> None:
    """Refuse a config with patterns that cannot be matched in linear time, or with too many of them.

    Raises:
        BadAdapter: a value has another form than PEFT writes.
        UnsupportedAdapter: as `Matcher`.
    """
    for key in _PATTERNS:
        given = config.get(key)
        if given is None:
            continue
        values = [given] if isinstance(given, str) else given
        listed = isinstance(values, list | tuple | set | frozenset)
        if not listed or not all(isinstance(one, str) for one in values):
            raise BadAdapter(f"{key} must hold names of modules, not {str(given)[:80]}.")
        if key == "modules_to_save" and (odd := [one for one in values if not _LITERAL.fullmatch(one)]):
            raise BadAdapter(f"modules_to_save must hold names of modules, not {odd[0][:80]!r}.")
        Matcher(sorted(values))
    for key in _NUMBERS:
        special = config.get(key) or {}
        if not isinstance(special, Mapping):
            raise BadAdapter(f"{key} must map names of modules to numbers, not be {str(special)[:80]}.")
        matcher(tuple(special))


def adapted_modules(names: Iterable[str]) -> list[str]:
    """Return the modules that the tensors of an adapter belong to, sorted, by their paths in the base."""
    bare = (name.removeprefix(_PREFIX) for name in names)
    return sorted({match["module"] for name in bare if (match := _PART.fullmatch(name))})


def explicit_config(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the config with every pattern replaced by the modules of the tensors `names` that it matches.

    Raises: as `check_patterns`.
    """
    check_patterns(config)
    modules = adapted_modules(names)
    if not modules or config.get("target_modules") == NO_LAYERS:
        return dict(config)
    _check_targets(config.get("target_modules"), modules)
    made = {**config, "target_modules": modules}
    for key in ("exclude_modules", "layers_pattern", "layers_to_transform"):
        if key in made:
            made[key] = None
    if (feedforward := config.get("feedforward_modules")) is not None:
        made["feedforward_modules"] = _feedforward(feedforward, modules)
    for key in _NUMBERS.keys() & made.keys():
        made[key] = _by_module(made[key] or {}, modules)
    return made


def _check_targets(given: str | Collection[str] | None, modules: Sequence[str]) -> None:
    """Refuse tensors of modules that `target_modules` does not match: PEFT would ignore them."""
    if given is None or given == ALL_LINEAR:
        return
    if isinstance(given, str):
        compiled = _compiled(given, given)
        unmatched = [module for module in modules if not compiled.fullmatch(module)]
    else:
        names = frozenset(given)
        unmatched = [module for module in modules if names.isdisjoint(_ends(module))]
    if unmatched:
        raise BadAdapter(f"The adapter has tensors of {unmatched[0]!r}, which target_modules does not name.")


def _feedforward(given: str | Collection[str], modules: Sequence[str]) -> list[str]:
    if isinstance(given, str):
        compiled = _compiled(given, given)
        return [module for module in modules if compiled.fullmatch(module)]
    ends = tuple(given)
    return [module for module in modules if module.endswith(ends)]


def _by_module(special: Mapping[str, Any], modules: Sequence[str]) -> dict[str, Any]:
    """Return per-module values, keyed by patterns that match exactly these modules."""
    found, values = matcher(tuple(special)), list(special.values())
    places = {module: found.first(module) for module in modules}
    return {f"^{re.escape(module)}": values[place] for module, place in places.items() if place is not None}


def _compiled(pattern: str, shown: str) -> Any:
    import re2

    if len(shown) > MAX_LENGTH:
        raise UnsupportedAdapter(
            f"The pattern {shown[:80]!r}... has more than {MAX_LENGTH:,} characters. Name the modules."
        )
    if odd := _RE2_DIFFERS.search(shown):
        raise UnsupportedAdapter(
            f"The pattern {shown[:80]!r} has {odd[0]!r}, which RE2 reads differently. Name the modules."
        )
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise UnsupportedAdapter(
            f"The pattern {shown[:80]!r} cannot be matched in linear time: {text[:200]}. Name the modules."
        ) from None
