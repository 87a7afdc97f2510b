"""Tell from a plain PEFT adapter what a manifest would say: the head's kind and its labels."""

from __future__ import annotations

from hub.api import HeadKind
from hub.errors import BadAdapter
from hub.store.weights import AdapterFiles

__all__ = ["head_of", "head_rows", "labels_of"]

_HEADS = {
    "SEQ_CLS": HeadKind.SEQUENCE,
    "TOKEN_CLS": HeadKind.TOKEN,
    "QUESTION_ANS": HeadKind.SPAN,
    "CAUSAL_LM": HeadKind.GENERATE,
    "SEQ_2_SEQ_LM": HeadKind.GENERATE,
    "FEATURE_EXTRACTION": HeadKind.EMBEDDING,
}
# The last layer of transformers' heads, the most specific first.
_OUTPUT_LAYERS = ("classifier.out_proj", "classifier", "score", "qa_outputs")
_LABELLED = (HeadKind.SEQUENCE, HeadKind.TOKEN)


def head_of(files: AdapterFiles) -> HeadKind:
    """Tell the head's kind from PEFT's task_type.

    Raises:
        BadAdapter: the config states none that we know.
    """
    stated = files.config.get("task_type")
    if stated not in _HEADS:
        raise BadAdapter(
            f"The adapter's task_type is {stated!r}, which does not tell what it computes. "
            f"Save it with one of PEFT's task types: {', '.join(_HEADS)}."
        )
    return _HEADS[stated]


def head_rows(files: AdapterFiles) -> int:
    """Return the outputs of the adapter's own head, 0 if it has none."""
    for layer in _OUTPUT_LAYERS:
        for name, tensor in files.tensors.items():
            if name.endswith((f".{layer}.weight", f".{layer}.modules_to_save.weight")) and tensor.ndim == 2:
                return int(tensor.shape[0])
    return 0


def labels_of(files: AdapterFiles, kind: HeadKind, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels of a head, made up as `label_0`... when none are given.

    Raises:
        BadAdapter: the head and the labels given do not agree, or a labelled kind has no head.
    """
    rows = head_rows(files)
    if kind not in _LABELLED:
        if given:
            raise BadAdapter(f"A {kind} adapter has no labels, and {len(given)} were given.")
        return ()
    if not rows:
        raise BadAdapter(
            f"The adapter has no classification head, so as a {kind} adapter it has nothing to score with. "
            "Save it with PEFT's task_type SEQ_CLS or TOKEN_CLS, or with modules_to_save=['classifier']."
        )
    if given and len(given) != rows:
        raise BadAdapter(f"The head has {rows} outputs and {len(given)} labels were given.")
    if len(set(given)) != len(given):
        raise BadAdapter("The labels given are not all different.")
    return given or tuple(f"label_{index}" for index in range(rows))
