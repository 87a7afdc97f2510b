"""What the conformance tests of a task are given, and the adapter that they make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from hub.api import AdapterInfo, Example, Features, HeadKind, InputKind, TargetKind, TaskSpec, Tokenizer
from hub.registry.loaded import LoadedTask, load_task
from hub.testing.samples import IMAGE, tokenizer_for

__all__ = ["GivenTask"]


class GivenTask:
    """The attributes that a plugin author sets, and fixtures made from them."""

    spec: ClassVar[TaskSpec]
    """The spec that the plugin's hook yields."""

    examples: ClassVar[Sequence[Example]]
    """Training rows as the loader passes them to the task; at least two."""

    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """The recipe's `options` to test with."""

    encoder_decoder: ClassVar[str] = ""
    """The type of an encoder-decoder, such as "t5", to test a GENERATE task as on such a base."""

    best: ClassVar[float] = 1.0
    """The value of the task's metric if all answers are correct; 0.0 for error rates."""

    max_step_s: ClassVar[float] = 0.2
    """The seconds that `encode` and `decode` of an example may take; the best of three runs counts."""

    @pytest.fixture
    def loaded(self) -> LoadedTask:
        return load_task(self.spec)

    @pytest.fixture
    def tokenizer(self) -> Tokenizer:
        return tokenizer_for(self.spec.head, self.spec.input)

    @pytest.fixture
    def adapter(self, loaded: LoadedTask, tokenizer: Tokenizer) -> AdapterInfo:
        """An adapter as training stores it."""
        settings = loaded.task.options.model_validate(dict(self.options)).model_dump(mode="json")
        found = AdapterInfo(
            "conformance",
            1,
            loaded.task.labels(self.examples),
            MappingProxyType(settings),
            max_length=loaded.task.max_length,
            encoder_decoder=bool(self.encoder_decoder),
        )
        if self.spec.input is InputKind.IMAGE:
            found = replace(found, image=IMAGE, max_length=IMAGE.tokens)
        if self.spec.head is HeadKind.GENERATE:
            stored = loaded.task.settle(found, tokenizer, self.encoder_decoder or "llama")
            found = replace(found, settings=MappingProxyType(dict(stored)))
        if loaded.numeric:
            levels = {loaded.number(example) for example in self.examples}
            ordinal = self.spec.target is TargetKind.ORDINAL
            found = replace(found, labels=("number",), levels=tuple(sorted(levels)) if ordinal else ())
        return replace(found, labels=loaded.task.head_labels(found))

    def _learned(
        self, loaded: LoadedTask, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo
    ) -> list[Features]:
        """Return the features of an example, with its number if the task learns numbers."""
        features = loaded.task.features(example, tokenizer, adapter)
        if loaded.numeric:
            return [{**item, "labels": loaded.number(example)} for item in features]
        return features

    def _requests(self, loaded: LoadedTask) -> list[BaseModel]:
        """The requests of the examples."""
        return [loaded.task.request(example) for example in self.examples]

    def _figures(
        self, loaded: LoadedTask, answers: Sequence[Any], examples: Sequence[Example] = ()
    ) -> dict[str, float]:
        """Score the answers to the examples as an evaluation does."""
        examples = list(examples or self.examples)
        return loaded.task.metrics(loaded.task.judged(answers, examples), examples)
