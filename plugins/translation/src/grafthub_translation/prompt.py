"""The wording of an adapter, and its prompts and targets as token ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from grafthub_translation.glossary import FixedTerm
from grafthub_translation.languages import language_name
from grafthub_translation.models import Pair, TranslationOptions
from grafthub_translation.sentences import Span, stripped
from hub.api import AdapterInfo, BadRecipe, BadRequest, InvalidText, Tokenizer, TooLarge
from hub.task_tools import answer_ids, control_token, divide, instruction_ids

__all__ = ["Prompts", "check_text", "default_template", "target_ids"]

_CHAT = "Translate from {source_language} to {target_language}:\n{text}"
_PLAIN = "{source_language}: {text}\n{target_language}:"
_PREFIX = "translate {source_language} to {target_language}: {text}"  # T5, arXiv:1910.10683
_TOKEN = ">>{target_code}<<"  # of a multilingual Marian model, before the text
_TOKENS = re.compile(r">>[\w-]+<<")
_T5 = frozenset({"longt5", "mt5", "switch_transformers", "t5", "umt5"})
# They read the target language from the decoder's first token, which no row can set.
_DECODER_LANGUAGE = frozenset({"m2m_100", "mbart", "nllb-moe", "plbart", "seamless_m4t", "seamless_m4t_v2"})
MARGIN = 8  # tokens; a part that is tokenized alone may have a few more than within the sentence
MIN_ROOM = 8  # tokens of a part
_DIVISIONS = (re.compile(r"[,;:،؛—–]\s+|[、，；：]"), re.compile(r"\s+"))  # noqa: RUF001


def default_template(
    options: TranslationOptions, tokenizer: Tokenizer, adapter: AdapterInfo, model_type: str = ""
) -> str:
    """Return the template of an adapter that has none.

    Raises:
        BadRecipe: the base needs something that no row can give, or lacks a token of a target language.
    """
    if not adapter.encoder_decoder:
        return _CHAT if getattr(tokenizer, "chat_template", None) else _PLAIN
    if model_type in _DECODER_LANGUAGE:
        raise BadRecipe(
            f"A base of type {model_type} reads the target language from the first token of its decoder, "
            "which adapters cannot set. Choose a Marian, T5 or BART base."
        )
    if model_type in _T5:
        return _PREFIX
    known = sorted(token for token in tokenizer.get_vocab() if _TOKENS.fullmatch(token))
    if known:
        for _, target in options.all_pairs:
            if _TOKEN.format(target_code=target) not in known:
                raise BadRecipe(
                    f"The base has no token >>{target}<<. Name the target language as the base does: "
                    f"{', '.join(token[2:-2] for token in known[:20])}{', ...' * (len(known) > 20)}."
                )
        return f"{_TOKEN} {{text}}"
    return "{text}" if len(options.all_pairs) == 1 else _PREFIX


@dataclass(frozen=True, slots=True)
class Prompts:
    """Makes the prompts of a language pair for an adapter.

    Raises:
        BadRequest: the base has no token of the target language, and the template needs one.
    """

    template: str
    pair: Pair
    tokenizer: Tokenizer
    adapter: AdapterInfo
    _made: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        token = _TOKEN.format(target_code=self.pair[1])
        if _TOKEN in self.template and not _is_token(token, self.tokenizer):
            raise BadRequest(f"The base of this adapter does not translate to {self.pair[1]!r}: no {token}.")

    @property
    def limit(self) -> int:
        """The maximum number of tokens; a decoder's answer needs at least one more."""
        return self.adapter.max_length - (0 if self.adapter.encoder_decoder else 1)

    def ids(self, text: str) -> list[int]:
        """Return the prompt for a text.

        Raises:
            TooLarge: it exceeds the limit.
        """
        prompt = self._ids(text)
        if len(prompt) > self.limit:
            raise TooLarge(
                f"The text and its instruction take {len(prompt):,} tokens; this adapter takes at most "
                f"{self.limit:,}. Send the text in parts."
            )
        return prompt

    def divide(self, text: str, sentences: Sequence[Span], terms: Sequence[FixedTerm]) -> Iterator[Span]:
        """Yield the sentences of a text; one that exceeds the limit is divided at clauses, else at words.

        Raises:
            TooLarge: it cannot be divided.
        """
        hidden = list(text)
        for term in terms:
            hidden[slice(*term.span)] = "x" * len(term.translation)
        mask = "".join(hidden)
        room = self.limit - len(self._ids("")) - MARGIN
        for start, end in sentences:
            if len(self._ids(text[start:end])) <= self.limit:
                yield start, end
                continue
            if room < MIN_ROOM:
                self.ids(text[start:end])
            parts = divide(text[start:end], room, self.tokenizer, _DIVISIONS, mask=mask[start:end])
            edges = [*accumulate(map(len, parts), initial=start)]
            yield from (stripped(text, span) for span in pairwise(edges))

    def _ids(self, text: str) -> list[int]:
        if text not in self._made:
            self._made[text] = self._tokenized(text)
        return self._made[text]

    def _tokenized(self, text: str) -> list[int]:
        source, target = self.pair
        instruction = self.template.format(
            text=text,
            source_language=language_name(source),
            target_language=language_name(target),
            source_code=source,
            target_code=target,
        )
        return instruction_ids(instruction, self.tokenizer)


def target_ids(text: str, tokenizer: Tokenizer, adapter: AdapterInfo) -> list[int]:
    """Return the target of training, with its end token.

    Raises:
        BadRecipe: the tokenizer has no end token.
    """
    if tokenizer.eos_token_id is None:
        raise BadRecipe("The base's tokenizer has no end token, so the model could not stop.")
    check_text(text, tokenizer)
    if not adapter.encoder_decoder:
        return [*answer_ids(text, tokenizer), tokenizer.eos_token_id]
    target = list(tokenizer(text, verbose=False)["input_ids"])
    return target if target[-1:] == [tokenizer.eos_token_id] else [*target, tokenizer.eos_token_id]


def check_text(text: str, tokenizer: Tokenizer) -> None:
    """Check a text of a stranger.

    Raises:
        InvalidText: it contains a token that the model would obey.
    """
    token = control_token(text, tokenizer) or _language_token(text, tokenizer)
    if token:
        raise InvalidText(f"The text contains {token!r}, a control token of the model. Remove it.")


def _language_token(text: str, tokenizer: Tokenizer) -> str | None:
    found = _TOKENS.findall(text)
    return next((token for token in found if _is_token(token, tokenizer)), None)


def _is_token(token: str, tokenizer: Tokenizer) -> bool:
    return tokenizer.convert_tokens_to_ids(token) not in (None, getattr(tokenizer, "unk_token_id", None))
