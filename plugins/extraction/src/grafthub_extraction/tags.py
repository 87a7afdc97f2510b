"""Converts between tags and spans: BIO and BILOU, well-formed or not.

BIO begins an entity with B- and continues it with I-. BILOU (Ratinov and Roth 2009,
https://aclanthology.org/W09-1119) also marks the last word (L-) and the only one (U-).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hub.api import split_tag

__all__ = ["Span", "best_path", "chosen", "follows", "read_spans", "tag_names", "write_tags"]

Span = tuple[int, int, str]  # first item, item after the last, type
Scores = npt.NDArray[np.float32]
_PREFIXES = {"BIO": "BI", "BILOU": "BILU"}
_FORBIDDEN = -1e9  # not -inf: without a well-formed sequence, one with the fewest faults wins


def tag_names(types: Iterable[str], scheme: str) -> tuple[str, ...]:
    """Return the tags of a scheme for some types; the first is "O", for no entity."""
    return ("O", *(f"{prefix}-{kind}" for kind in types for prefix in _PREFIXES[scheme]))


def write_tags(spans: Iterable[Span], size: int, bilou: bool) -> list[str]:
    """Return the tags of `size` items."""
    tags = ["O"] * size
    for first, stop, kind in spans:
        tags[first:stop] = [f"I-{kind}"] * (stop - first)
        tags[first] = f"B-{kind}"
        if bilou:
            tags[stop - 1] = f"{'L' if stop - first > 1 else 'U'}-{kind}"
    return tags


def read_spans(tags: Iterable[str]) -> list[Span]:
    """Return the spans in tags of either scheme; ill-formed tags are read as conlleval does.

    I- or L- without a preceding entity of its type begins one; an entity without L- ends before the next
    entity or O. A tag without a prefix is read as I-.
    """
    spans: list[Span] = []
    open_type = ""  # type of the last span while it may continue
    for index, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix == "O":
            open_type = ""
            continue
        if prefix in ("B", "U") or kind != open_type:
            spans.append((index, index + 1, kind))
        else:
            spans[-1] = (spans[-1][0], index + 1, kind)
        open_type = "" if prefix in ("L", "U") else kind
    return spans


def best_path(probabilities: Scores, labels: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Return the most probable well-formed sequence of labels [N], from probabilities [N, C] (Viterbi)."""
    path: npt.NDArray[np.intp] = probabilities.argmax(axis=1)
    allowed = follows(labels)
    ends = [len(labels)]
    around = np.concatenate([ends, path, ends])
    if allowed[around[:-1], around[1:]].all():
        return path
    gains = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    steps = np.where(allowed, 0.0, _FORBIDDEN)
    inner = steps[:-1, :-1]
    best = steps[-1, :-1] + gains[0]
    back = np.zeros(probabilities.shape, dtype=np.intp)
    for index in range(1, len(gains)):
        reached = best[:, None] + inner  # [C, C] from, to
        back[index] = reached.argmax(axis=0)
        best = reached.max(axis=0) + gains[index]
    path[-1] = (best + steps[:-1, -1]).argmax()
    for index in range(len(gains) - 1, 0, -1):
        path[index - 1] = back[index, path[index]]
    return path


@lru_cache(maxsize=64)
def follows(labels: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Return which label may follow which, [C + 1, C + 1] from and to; the last is either end of the text.

    The labels determine the scheme. A type without B- may begin with I-, one without L- may end anywhere, as
    in BIO and for tags without prefixes.
    """
    parts = [*map(split_tag, labels), ("O", "")]
    known = set(parts)
    types = np.array([kind for _, kind in parts])
    begun = np.array([prefix in ("B", "I", "") for prefix, _ in parts])
    ongoing = np.array([prefix in ("I", "L") and ("B", kind) in known for prefix, kind in parts])
    unfinished = np.array([prefix in ("B", "I") and ("L", kind) in known for prefix, kind in parts])
    continuing = np.array([prefix in ("I", "L") for prefix, _ in parts])
    same = types[:, None] == types[None, :]
    needs_start = ongoing[None, :] & ~(same & begun[:, None])
    needs_end = unfinished[:, None] & ~(same & continuing[None, :])
    allowed: npt.NDArray[np.bool_] = ~needs_start & ~needs_end
    allowed.setflags(write=False)
    return allowed


def chosen(probabilities: Scores, path: Sequence[int] | npt.NDArray[np.intp]) -> Scores:
    """Return the probability [N] of each label in a path [N]."""
    return np.take_along_axis(probabilities, np.asarray(path)[:, None], axis=1)[:, 0]
