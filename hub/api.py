"""The one module a task plugin imports.

A plugin is a distribution with an entry point in the group `hub.tasks.v1`. The module behind the
entry point implements `hub_tasks`, which yields a frozen `TaskSpec` for each task. A spec names the
request model, the response model and the task class by string, so that listing tasks imports none
of them.

Examples (training rows) are plain mappings whose keys are the task's `fields`.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NotRequired,
    Protocol,
    TypedDict,
    TypeVar,
)

import pluggy
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from hub.answers import same_answer
from hub.errors import (
    BadData,
    BadDimensions,
    BadRecipe,
    BadRequest,
    HubError,
    InvalidText,
    TooLarge,
    first_problem,
)
from hub.generation.response_format import ChoiceFormat, JsonObjectFormat, JsonSchemaFormat
from hub.generation.sampling import GREEDY, FinishReason, Sampling, SamplingFields
from hub.generation.streaming import AnswerStream, JoinedText
from hub.vectors import Embedding, Pooling

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "ENTRY_POINT_GROUP",
    "GREEDY",
    "AdapterInfo",
    "AnswerStream",
    "BadData",
    "BadDimensions",
    "BadRecipe",
    "BadRequest",
    "ChoiceFormat",
    "Embedding",
    "Example",
    "Features",
    "Field",
    "FieldKind",
    "FinishReason",
    "HeadKind",
    "HubError",
    "InvalidText",
    "JoinedText",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "Model",
    "NoOptions",
    "Output",
    "Pooling",
    "Row",
    "Sampling",
    "SamplingFields",
    "Task",
    "TaskHooks",
    "TaskSpec",
    "Text",
    "Tokenizer",
    "Tokens",
    "TooLarge",
    "hookimpl",
    "read_options",
    "split_tag",
    "truncate",
]

ENTRY_POINT_GROUP = "hub.tasks.v1"
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})  # Unicode categories: spaces, controls, joiners
# A character of no _INVISIBLE category, for JSON Schema, whose regular expressions know no categories.
VISIBLE = (
    r"[^\u0000-\u0020\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ufeff\ufff9-\ufffb]"
)
_PREFIXES = {"B": "B", "I": "I", "L": "L", "U": "U", "E": "L", "S": "U"}
MAX_TEXT = 200_000  # characters in one text field; a request over it is refused before tokenizing

hookspec = pluggy.HookspecMarker("hub")
hookimpl = pluggy.HookimplMarker("hub")

Example = Mapping[str, Any]
Features = dict[str, Any]


def _check_text(text: str, info: ValidationInfo) -> str:
    name = info.field_name or "text"
    if len(text) > MAX_TEXT:
        raise TooLarge(f"`{name}` has {len(text):,} characters; the limit is {MAX_TEXT:,}. Send it in parts.")
    if all(unicodedata.category(character) in _INVISIBLE for character in text):
        raise InvalidText(f"`{name}` is empty: send text with at least one visible character.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"`{name}` is not valid Unicode: half a surrogate pair at character {error.start}."
        ) from None
    return text


Text = Annotated[
    str,
    AfterValidator(_check_text),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": VISIBLE}),
]
"""A text field of a request: InvalidText if nothing in it is visible or it is not valid Unicode,
TooLarge past MAX_TEXT. These are raised as they are, not wrapped in a ValidationError."""


class Model(BaseModel):
    """Base of request, response and options models: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoOptions(Model):
    """The options model of a task without options."""


class HeadKind(StrEnum):
    """The head that the engine computes for a row; determines the shape of `Output.values`."""

    SEQUENCE = "sequence"  # [C]     one score per label
    TOKEN = "token"  # [T, C]  one score per token and label
    SPAN = "span"  # [T, 2]  start and end score per token
    EMBEDDING = "embedding"  # [H]     the pooled vector
    GENERATE = "generate"  # text    no values: `Output.text`


class FieldKind(StrEnum):
    """The type of a training column; the loader converts and checks its values."""

    TEXT = "text"  # str, not empty
    LABEL = "label"  # str
    LABELS = "labels"  # tuple[str, ...]; a string is split at commas
    ANSWERS = "answers"  # tuple[{"text", "answer_start"}, ...]; empty: no answer
    TOKENS = "tokens"  # tuple[str, ...], a text in words; a string is split at white space
    TAGS = "tags"  # tuple[str, ...], one per token: "O", or a type after "B-", "I-", "L-" or "U-"
    ENTITIES = "entities"  # tuple[{"start", "end", "label"}, ...], offsets in characters; empty: none
    NUMBER = "number"  # float
    MESSAGES = "messages"  # tuple[{"role", "content"}, ...], a chat; empty: none


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a task's training data; an absent optional column is None."""

    name: str
    kind: FieldKind
    summary: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task of a plugin; `request`, `response` and `factory` are "package.module:Name"."""

    name: str
    summary: str
    head: HeadKind
    request: str
    response: str
    factory: str


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """The facts about an adapter that its task can read.

    `settings` is the task's own options as plain JSON values. `max_length` is the token limit of
    one row, special tokens included. On an `encoder_decoder` base, a row is the source alone.
    """

    name: str
    version: int
    labels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    max_length: int = 128
    encoder_decoder: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenized sequence.

    `input_ids` and `token_type_ids` are [T]. `max_new_tokens` and `sampling` are read for GENERATE only,
    `pooling` for EMBEDDING only. `meta` is carried to `decode` untouched; the engine never reads it.
    """

    input_ids: Sequence[int]
    token_type_ids: Sequence[int] | None = None
    max_new_tokens: int = 0
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    sampling: Sampling = GREEDY
    pooling: Pooling = Pooling.MEAN


@dataclass(frozen=True, slots=True)
class Output:
    """The model's output for one row: raw scores (float32, see HeadKind), or generated text.

    `tokens` counts those that were generated, an end token included; `cached_tokens` those of the prompt that
    were not computed again.
    """

    row: Row
    values: npt.NDArray[np.float32] | None = None
    text: str = ""
    tokens: int = 0
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0


class Tokenizer(Protocol):
    """The part of a Hugging Face fast tokenizer that tasks use."""

    is_fast: bool
    truncation_side: str
    pad_token_id: int | None
    eos_token_id: int | None

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def decode(self, *args: Any, **kwargs: Any) -> Any: ...
    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any: ...
    def get_vocab(self) -> dict[str, int]: ...
    def convert_tokens_to_ids(self, *args: Any, **kwargs: Any) -> Any: ...


RequestT = TypeVar("RequestT", bound=BaseModel)
ResponseT = TypeVar("ResponseT", bound=BaseModel)
OptionsT = TypeVar("OptionsT", bound=BaseModel)


def read_options(model: type[OptionsT], adapter: AdapterInfo) -> OptionsT:
    """Return the adapter's settings as the task's options; settings unknown to `model` are ignored.

    Raises:
        BadRecipe: a setting does not fit; the message names the option.
    """
    try:
        return model(**{key: adapter.settings[key] for key in model.model_fields if key in adapter.settings})
    except ValidationError as error:
        option, reason = first_problem(error, "options")
        raise BadRecipe(f"Option {option!r} of adapter {adapter.name!r}: {reason}.") from None


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag of a token into prefix and type: ("B", "PER"), ("", "PER") without one, ("O", "").

    The prefixes are those of BIO and BILOU; E- and S-, as BIOES has them, are given as L and U.
    """
    if tag == "O":
        return "O", ""
    prefix, dash, kind = tag.partition("-")
    known = _PREFIXES.get(prefix) if dash and kind else None
    return (known, kind) if known else ("", tag)


class Tokens(TypedDict):
    """The token lists of a row, each [T]; spread them into `Row` or into features."""

    input_ids: list[int]
    token_type_ids: NotRequired[list[int]]


def truncate(encoding: Any, limit: int, *, side: str = "right") -> Tokens:
    """Truncate an encoding to `limit` tokens exactly as the tokenizer's own `longest_first` would.

    `encoding` is the output of a fast tokenizer for a text or a pair of texts, without truncation. `side`
    is the tokenizer's `truncation_side`: the end that loses tokens. Special tokens are kept, and under a
    `limit` that they alone exceed, nothing is cut. A tokenizer's own `truncation` must not be used: it
    sets state that all threads share, and one request would be cut to another request's length.
    """
    size = len(encoding["input_ids"])
    keep: Sequence[int] = range(size)
    if size > limit:
        texts = encoding.sequence_ids(0)  # [T]: None at special tokens, else 0 or 1
        first = [index for index in range(size) if texts[index] == 0]
        second = [index for index in range(size) if texts[index] == 1]
        room = limit - (size - len(first) - len(second))
        if room >= 0:
            kept = _longest_first(len(first), len(second), room)
            dropped: set[int] = set()
            for text, count in zip((first, second), kept, strict=True):
                dropped.update(text[: len(text) - count] if side == "left" else text[count:])
            keep = [index for index in range(size) if index not in dropped]
    tokens = Tokens(input_ids=[encoding["input_ids"][index] for index in keep])
    if "token_type_ids" in encoding:
        tokens["token_type_ids"] = [encoding["token_type_ids"][index] for index in keep]
    return tokens


def _longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each of two texts fit in `room`, which is fewer than both have.

    The rule is that of the Rust library `tokenizers`: the longer text, or of equal ones the second, gets
    the odd token.
    """
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)


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

    max_length: ClassVar[int] = 128
    """Default token limit of one row, unless the recipe sets `max_length`."""

    encoder_decoders: ClassVar[bool] = False
    """Whether a GENERATE task makes rows and features for encoder-decoders too."""

    text_field: ClassVar[str] = ""
    """The field of the response that equals the parts of a streamed answer put together; "": none does."""

    adapter_format: ClassVar[int] = 1
    """Raise it when adapters that earlier versions of the plugin trained must not be served any more."""

    def labels(self, examples: Iterable[Example]) -> tuple[str, ...]:
        """Return the label names found in training examples, in a fixed order; () if none are used.

        A SPAN head has two outputs and ignores this.
        """
        return ()

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

        - SEQUENCE: `labels`, an int, or a list of C floats for multi-label
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


class TaskHooks:
    """Hook specifications of the group `hub.tasks.v1`."""

    @hookspec
    def hub_tasks(self) -> Iterable[TaskSpec]:
        """Yield a TaskSpec for each task this plugin provides."""
        raise AssertionError("a hook specification is never called")
