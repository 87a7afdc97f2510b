"""The class that a plugin writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel

from hub.answers import same_answer
from hub.api.adapter import AdapterInfo
from hub.api.columns import Example, Field, FieldKind
from hub.api.kinds.metric import MetricKind
from hub.api.models import NoOptions
from hub.api.rows import Features, Output, Row, Tokenizer
from hub.errors import BadData
from hub.generation.streaming import AnswerStream
from hub.vectors import Embedding

RequestT = TypeVar("RequestT", bound=BaseModel)
ResponseT = TypeVar("ResponseT", bound=BaseModel)


class Task(ABC, Generic[RequestT, ResponseT]):
    """Turns a request into model rows, and model outputs into an answer.

    A task is pure: it holds no state between calls and never sees a device, a batch, another
    request or an HTTP object. Its methods run in threads, several at once.
    """

    fields: ClassVar[tuple[Field, ...]]
    """The columns of its training data."""

    options: ClassVar[type[BaseModel]] = NoOptions
    """Model of the recipe's `options` section; dumped to JSON it becomes `AdapterInfo.settings`."""

    metric: ClassVar[str]
    """The key of `metrics` that training chooses the checkpoint by, and that the deploy gate compares."""

    metric_goal: ClassVar[Literal["max", "min"]] = "max"
    """Whether a higher `metric` is better, or a lower one, as for an error such as `mae`."""

    metric_kinds: ClassVar[Mapping[str, MetricKind]] = MappingProxyType({})
    """The formula that each of `metrics` follows, by name.

    Confidence intervals of the others call `metrics` on many samples of the rows, unless the hub finds that
    it follows a formula.
    """

    max_length: ClassVar[int] = 128
    """Default token limit of one row, unless the recipe sets `max_length`."""

    encoder_decoders: ClassVar[bool] = False
    """Whether a GENERATE task makes rows and features for encoder-decoders too."""

    bare_base: ClassVar[bool] = False
    """Whether it answers on a base without an adapter, with its default options; for GENERATE and EMBEDDING.

    Then a resident decoder or encoder can be asked by its name. Of several such tasks, the first by name is.
    """

    text_field: ClassVar[str] = ""
    """The field of the response that equals the parts of a streamed answer put together; "": none does."""

    number_field: ClassVar[str] = ""
    """The field of the response that has the number; tasks with a NUMBER or ORDINAL target need it."""

    plugin_settings: BaseModel = NoOptions()
    """The settings of its plugin, if that names a model in `hub_settings`; set before the first call."""

    adapter_format: ClassVar[int] = 1
    """Raise it when adapters that earlier versions of the plugin trained must not be served any more."""

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        """Return the label names found in training examples, in a fixed order; () if none are used.

        A SPAN head has two outputs and ignores this.
        """
        return ()

    def number(self, example: Example) -> float:
        """Return the number that an example teaches; for NUMBER and ORDINAL targets.

        By default the value of the first field of kind NUMBER.

        Raises:
            BadData: the example has none.
        """
        for field in self.fields:
            if field.kind is FieldKind.NUMBER:
                if example.get(field.name) is None:
                    raise BadData(f"It has no {field.name}.")
                return float(example[field.name])
        raise BadData("The task has no field of kind NUMBER.")

    def head_labels(self, adapter: AdapterInfo) -> tuple[str, ...]:
        """Return the names of the head's outputs: the labels, unless an option adds more.

        Called once before training, with the result of `labels` in `adapter.labels`; its result replaces
        `adapter.labels`.
        """
        return adapter.labels

    def settle(self, adapter: AdapterInfo, tokenizer: Tokenizer, model_type: str) -> Mapping[str, Any]:
        """Return the settings to store with a new GENERATE adapter, on a base of type `model_type`.

        By default those of `adapter`. A task whose prompts have defaults adds them, so that a version keeps
        the prompts that it was trained with.

        Raises:
            BadRecipe: the base does not support the settings.
        """
        return adapter.settings

    def embedding(self, adapter: AdapterInfo) -> Embedding:
        """Return how an EMBEDDING adapter makes and compares vectors; training follows it."""
        return Embedding()

    def vector_loss(self, queries: Any, texts: Any, candidates: Any, adapter: AdapterInfo) -> Any:
        """Return the loss of a training batch of pooled vectors; None for the contrastive loss of the hub.

        It is called for EMBEDDING with torch tensors: `queries` [B, H], `texts` [M, H], which are the good
        text of each query in order and then the bad ones, and `candidates` [B, M], true where a text is the
        query's good one or a negative. Return a scalar tensor with a gradient: the mean over the queries.
        """
        return None

    def suggest_options(self, columns: Mapping[str, str | int]) -> Mapping[str, Any]:
        """Return the options that `hub recipe new` writes for data with these columns; {} for none.

        `columns` maps each field that the data holds to its column: a name, or a position from 0.
        """
        return {}

    @abstractmethod
    def request(self, example: Example) -> RequestT:
        """Turn a held-out example into a client's request, without its answer."""

    @abstractmethod
    def encode(self, request: RequestT, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Row]:
        """Turn a request into one or more rows of at most `adapter.max_length` tokens."""

    @abstractmethod
    def decode(self, request: RequestT, outputs: Sequence[Output], adapter: AdapterInfo) -> ResponseT:
        """Turn the outputs of the request's rows, in order, into the answer.

        Raises:
            BadDimensions: the request asks for more dimensions than the vectors have.
        """

    def stream(self, request: RequestT, rows: Sequence[Row], adapter: AdapterInfo) -> AnswerStream | None:
        """Return what turns the texts of these rows into parts of the answer, for one streamed request.

        It is called for GENERATE after `encode`, with its rows. None: the text of a single row is streamed
        unchanged, and the texts of several rows are not.
        """
        return None

    def load(self) -> None:
        """Load what its calls read, such as an index or a word list; once in a process that uses the task.

        `plugin_settings` is set by then, and no call comes before it returns. An error makes the plugin
        broken, with its message as the reason.
        """

    def unload(self) -> None:
        """Release what `load` took, such as files and connections; once, when a server ends.

        A running call may still read it, and a process that is killed calls nothing.
        """

    def agrees(self, answer: ResponseT, other: ResponseT) -> bool | None:
        """Return whether two answers to a request agree; None if they cannot be compared.

        It compares canaries and shadows with stable, and answers with feedback that is an object. By default
        answers agree if they are equal without their floats; answers of floats alone cannot be compared.
        Override it for numbers, such as ratings with a tolerance, and for rankings. It is called in threads,
        as `decode` is.
        """
        return same_answer(answer, other)

    @abstractmethod
    def features(self, example: Example, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[Features]:
        """Turn a training example into model inputs: `input_ids` (and `token_type_ids`), plus

        - SEQUENCE: `labels`, an int, or a list of C floats from 0 to 1 for multi-label; nothing for NUMBER or
          ORDINAL targets, which `number` returns
        - TOKEN: `labels`, [T] ints, -100 where not scored
        - SPAN: `start_positions` and `end_positions`, ints
        - GENERATE: `labels`, [T] ints equal to `input_ids`, -100 where not learned; on an encoder-decoder
          the tokens of the target, of any length
        - EMBEDDING: `good`, the `Tokens` of a text to be near, and optionally `bad`, those of one to be far

        Raises:
            BadData: the example cannot be used (the message becomes the row's reason).
        """

    def judged(self, answers: Sequence[ResponseT], references: Sequence[Example]) -> Sequence[Any]:
        """Return what `metrics` scores of each answer, given all answers of an evaluation.

        By default the answers. Where an answer is right or wrong among others, as in retrieval, it returns
        pydantic models of its own, such as ranks. Samples and slices of an evaluation keep what is returned.
        """
        return answers

    @abstractmethod
    def metrics(self, predictions: Sequence[Any], references: Sequence[Example]) -> dict[str, float]:
        """Score answers, as `judged` returns them, against their examples; the result must have `metric`."""

    def signatures(self) -> Mapping[str, str]:
        """Return how each metric was computed, by name, such as sacrebleu's signatures; {} for none."""
        return {}
