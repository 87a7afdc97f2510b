"""Padded probe batches for comparing models: single texts and pairs of all lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hub.api import Row, Tokenizer, Tokens, truncate
from hub.engine.batch import pad_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float32]

__all__ = ["Probe", "batch_inputs", "probe_batches"]

_TEXTS = """
The film drags for an hour and then ends just as it becomes interesting.
A warm, funny and generous comedy with two superb leads.
Wonderful!
I have never been so bored in my life.
It is neither good nor bad: a film one forgets on the way home.
My order arrived broken and nobody answers the phone.
The battery lasts two full days, which is more than I hoped for.
How do I change the address on my invoice?
The application crashes whenever I open the settings page.
Please cancel my subscription at the end of the month.
Shares fell 4.2 % in early trading after the company cut its forecast.
The central bank left interest rates unchanged on Thursday.
Their goalkeeper saved two penalties in extra time.
She won the race in 9 minutes and 58 seconds, a new record.
Researchers have found water ice in a crater near the south pole of the Moon.
The new chip is twice as fast and needs half the power.
Parliament will vote on the bill next week.
Thousands marched through the capital to demand new elections.
When was the bridge opened?
The bridge was opened in 1932 and carries eight lanes of traffic.
Who wrote the letter that was found in the library?
The letter, dated 3 May 1871, was written by a schoolteacher from Leeds.
Rain is expected in the north, while the south stays dry and warm.
Mix the flour with two eggs, and let the dough rest for half an hour.
I would not recommend this hotel to anybody, not even to my worst enemy.
Staff were friendly, the room was clean, and breakfast was excellent.
OK
No.
Where is the nearest station?
The museum is closed on Mondays, and entry is free after five.
Le train part à huit heures du matin.
Das Wetter ist heute schön.
这部电影非常好看。
e-mail me at nobody@example.com, or visit https://example.com/help?id=42
Total: $1,299.00 (incl. VAT)
""".strip().splitlines()
_SIZES = (1, 2, 5, 16, 33)  # rows of a batch


@dataclass(frozen=True, slots=True)
class Probe:
    """A text, or a pair of texts, and its tokens in the hub."""

    text: str
    pair: str | None
    tokens: Tokens


def probe_batches(tokenizer: Tokenizer, limit: int, sizes: Sequence[int] = _SIZES) -> list[list[Probe]]:
    """Return batches of `sizes` rows of mixed lengths, and two batches with rows of `limit` tokens."""
    stream = _stream(tokenizer, limit)
    batches = [[next(stream) for _ in range(size)] for size in sizes]
    long = _probe(tokenizer, " ".join(_TEXTS * (1 + limit // len(_TEXTS))), None, limit)
    return [*batches, [long], [batches[0][0], long, next(stream)]]


def batch_inputs(batch: Sequence[Probe], names: Sequence[str], pad: int) -> dict[str, Ints]:
    """Return the model inputs `names`, each [B, T], padded on the right."""
    padded = pad_rows([Row(**probe.tokens) for probe in batch], pad)
    return {name: padded.get(name, np.zeros_like(padded["input_ids"])) for name in names}


def _stream(tokenizer: Tokenizer, limit: int) -> Iterator[Probe]:
    """Yield the texts in a cycle, every third one paired with its successor."""
    index = 0
    while True:
        text, after = (_TEXTS[at % len(_TEXTS)] for at in (index, index + 1))
        yield _probe(tokenizer, text, after if index % 3 == 1 else None, limit)
        index += 1


def _probe(tokenizer: Tokenizer, text: str, pair: str | None, limit: int) -> Probe:
    encoding = tokenizer(text, pair, verbose=False)
    return Probe(text, pair, truncate(encoding, limit, side=tokenizer.truncation_side))
