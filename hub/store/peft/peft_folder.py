"""Reads the kind and the labels of the head from a plain PEFT folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.api import HeadKind
from hub.errors import BadAdapter
from hub.store.content.weights import AdapterFiles
from hub.store.manifest import Serving
from hub.untrusted import read_json

__all__ = [
    "HeadConfig",
    "check_outputs",
    "head_config",
    "head_of",
    "head_rows",
    "is_output_layer",
    "kind_of",
    "labels_of",
]

MODEL_CONFIG_FILE = "config.json"
_MAX_CONFIG = 10_000_000  # bytes
_INDEX = re.compile(r"[0-9]{1,9}")
_GENERIC = re.compile(r"LABEL_[0-9]+")  # generic names of transformers

_HEADS = {
    "SEQ_CLS": HeadKind.SEQUENCE,
    "TOKEN_CLS": HeadKind.TOKEN,
    "QUESTION_ANS": HeadKind.SPAN,
    "CAUSAL_LM": HeadKind.GENERATE,
    "SEQ_2_SEQ_LM": HeadKind.GENERATE,
    "FEATURE_EXTRACTION": HeadKind.EMBEDDING,
}
# The last layer of transformers' heads, the most specific first.
_OUTPUT_LAYERS = ("classification_head.out_proj", "classifier.out_proj", "classifier", "score", "qa_outputs")
_LABELLED = (HeadKind.SEQUENCE, HeadKind.SEQUENCE_MEAN, HeadKind.TOKEN)


def head_of(files: AdapterFiles) -> HeadKind:
    """Return the head kind for PEFT's task_type.

    Raises:
        BadAdapter: the config has no known task_type.
    """
    return kind_of(files.config)


def kind_of(config: Mapping[str, Any]) -> HeadKind:
    """Return the head kind for the task_type of a PEFT config.

    Raises:
        BadAdapter: it has no known task_type.
    """
    stated = config.get("task_type")
    if not isinstance(stated, str) or stated not in _HEADS:
        raise BadAdapter(
            f"The adapter's task_type is {stated!r}, which does not tell what it computes. "
            f"Save it with one of PEFT's task types: {', '.join(_HEADS)}."
        )
    return _HEADS[stated]


def head_rows(files: AdapterFiles) -> int:
    """Return the outputs of the adapter's own head, 0 if it has none."""
    for layer in _OUTPUT_LAYERS:
        for name, tensor in files.tensors.items():
            if is_output_layer(name, (layer,)) and tensor.ndim == 2:
                return int(tensor.shape[0])
    return 0


def is_output_layer(tensor: str, layers: Sequence[str] = _OUTPUT_LAYERS) -> bool:
    """Return whether a tensor name is the weight of a head's last layer."""
    return any(tensor.endswith((f".{layer}.weight", f".{layer}.modules_to_save.weight")) for layer in layers)


def labels_of(
    files: AdapterFiles, kind: HeadKind, given: tuple[str, ...], stated: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the labels in the order of the head's outputs.

    `given` are the caller's, `stated` those of the folder's config.json; without either they are
    `label_0`, `label_1`, ...

    Raises:
        BadAdapter: head and labels do not agree, the two sources contradict each other, or a labelled kind
            has no head.
    """
    rows = head_rows(files)
    _check_characters(given)
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
    if given and given != stated and sorted(given) == sorted(stated):
        raise BadAdapter(
            f"The labels given ({_shown(given)}) are those of {MODEL_CONFIG_FILE} in another order "
            f"({_shown(stated)}). Leave out --labels, or correct id2label in {MODEL_CONFIG_FILE}."
        )
    if not given and stated and len(stated) != rows:
        raise BadAdapter(
            f"The head has {rows} outputs and id2label in {MODEL_CONFIG_FILE} names {len(stated)} labels. "
            "Give the labels in the order of the outputs with --labels."
        )
    if kind is HeadKind.TOKEN and not given and not stated:
        raise BadAdapter(
            f"Nothing names the {rows} tags of the head, and tokens without a tag are told by theirs. Give "
            "all in the order of the outputs: --labels O,B-NAME,I-NAME."
        )
    return given or stated or tuple(f"label_{index}" for index in range(rows))


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """The description of the head in a model's config.json; empty without one.

    `problem_type` selects the loss in transformers.
    """

    labels: tuple[str, ...] = ()
    problem_type: str = ""


def head_config(folder: Path) -> HeadConfig:
    """Read the model's config.json that some trainers save beside an adapter.

    Generic label names such as LABEL_0 are dropped.

    Raises:
        BadAdapter: it is not JSON, or its id2label does not name outputs 0, 1, ... with different labels.
    """
    path = folder / MODEL_CONFIG_FILE
    if not path.is_file():
        return HeadConfig()
    try:
        config = read_json(path, _MAX_CONFIG, unique_keys=False)
    except (OSError, ValueError) as error:
        raise BadAdapter(f"{path} is not a model's config: {error}.") from None
    if not isinstance(config, dict):
        raise BadAdapter(f"{path} is not a model's config: it is not a JSON object.")
    return HeadConfig(_labels_in(config.get("id2label") or {}), str(config.get("problem_type") or ""))


def check_outputs(serving: Serving) -> None:
    """Raise BadAdapter for a head with one output, unless it is used with a sigmoid.

    A softmax over one output is 1 for every text.
    """
    if serving.head not in _LABELLED or len(serving.labels) != 1 or serving.numbers:
        return
    if serving.head.declared is HeadKind.SEQUENCE and serving.settings.get("multi_label") is True:
        return
    if serving.head is HeadKind.TOKEN:
        raise BadAdapter(
            "The head has one output, so every token would get the same label. Train it with two labels or "
            "more."
        )
    raise BadAdapter(
        f"The head has one output, and the task {serving.task!r} chooses between labels: every text would "
        "score 1. Regression cannot be served: answers have no field for a raw value. If the output is the "
        "logit of one label, import it as multi-label, which applies a sigmoid: --task classification "
        "--option multi_label=true --labels LABEL. Or train it with two labels."
    )


def _labels_in(names: object) -> tuple[str, ...]:
    """Return the labels of an id2label in the order of its numbers, which are strings in JSON."""
    labels: dict[int, str] = {}
    if isinstance(names, Mapping) and all(_INDEX.fullmatch(str(key)) for key in names):
        labels = {int(key): str(value).strip() for key, value in names.items()}
    found = tuple(labels[key] for key in sorted(labels))
    sound = isinstance(names, Mapping) and sorted(labels) == list(range(len(names)))
    if (names and not sound) or not all(found):
        raise BadAdapter(f"id2label in {MODEL_CONFIG_FILE} does not name the outputs 0, 1, 2, ... in full.")
    if all(_GENERIC.fullmatch(label) for label in found):
        return ()
    _check_characters(found)
    if len(set(found)) != len(found):
        raise BadAdapter(
            f"id2label in {MODEL_CONFIG_FILE} gives two outputs the same label: {_shown(found)}. Correct it, "
            "or give other labels there."
        )
    return found


def _check_characters(labels: tuple[str, ...]) -> None:
    """Raise BadAdapter for a label with a lone surrogate, as of a cut emoji: no answer can have it."""
    for number, label in enumerate(labels, 1):
        try:
            label.encode()
        except UnicodeEncodeError:
            raise BadAdapter(f"Label {number} ({label!r:.80}) is not valid Unicode text.") from None


def _shown(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
