"""Text encodings of data files: converts a file to UTF-8, or refuses it and names its probable encoding."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import IO, Any

from hub.errors import BadData
from hub.recipe.encodings import CODECS, UTF8, WIDE
from hub.untrusted import MAX_DEPTH

__all__ = [
    "MIN_BAD",
    "as_utf8",
    "decode",
    "encodable",
    "has_nul",
    "is_utf8",
    "not_utf8",
    "readable",
    "recognize",
]

_CHUNK_BYTES = 1 << 18
_BOMS = {  # the mark of UTF-32-LE starts with that of UTF-16-LE, so it comes first
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: UTF8,
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_MIN_WIDE_BYTES = 16  # fewer show no regular pattern of NULs
_BINARY = {b"PK\x03\x04": "a ZIP archive or an Excel workbook", b"\x1f\x8b": "a gzip file without .gz"}
# A source is refused if at least this many lines or texts are not UTF-8, and fewer have non-ASCII characters
# in UTF-8. Otherwise only these rows are invalid.
MIN_BAD = 3
_SAMPLES = 200  # lines from which an encoding is guessed
_SAMPLE = 300  # characters of each
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as `surrogateescape` decodes them
_NON_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]")
_C1 = re.compile("[\x80-\x9f]")
_WESTERN = frozenset(
    "àâäáãåæçéèêëíìîïñóòôöõøœúùûüÿßÀÂÄÁÃÅÆÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØŒÚÙÛÜŸšžŠŽ£€\u2018\u2019“”„\u2013—…«»°¡¿·§•™®©\xb4½¼\xa0"
)


def recognize(head: bytes) -> tuple[str, int] | None:
    """Detect the encoding from the first bytes of a file; return it with the length of its byte order mark.

    UTF-16 and UTF-32 without a mark are recognized by regular NULs. None: not detected.
    """
    for mark, encoding in _BOMS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    return next(((encoding, 0) for encoding in WIDE if _is_wide(head, encoding)), None)


def _is_wide(head: bytes, encoding: str) -> bool:
    width = 4 if encoding.startswith("utf-32") else 2
    head = head[: len(head) // 4 * 4]
    if len(head) < _MIN_WIDE_BYTES or b"\0" not in head:
        return False
    planes = [head[place::width] for place in range(width)]
    high, low = (planes[-1], planes[0]) if encoding.endswith("le") else (planes[0], planes[-1])
    # The high bytes of alphabetic scripts are control characters in UTF-8, which are rare in text. Chinese is
    # not recognized: it needs a mark or data.encoding.
    if 0 in low or sum(byte < 0x20 for byte in high) < len(high) / 2 or (width == 4 and any(high)):
        return False
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(name: str, stream: IO[bytes], encoding: str | None = None) -> IO[bytes]:
    """Return the file as UTF-8 without a byte order mark.

    `encoding` is used if the file's own is not detected; None: UTF-8. Bytes that are not UTF-8 are kept, so
    that the reader finds the invalid rows, unless the whole file seems to have another encoding.

    Raises:
        BadData: here or while reading: the file is not text, or has another encoding.
    """
    head = stream.read(_CHUNK_BYTES)
    if kind := next((kind for magic, kind in _BINARY.items() if head.startswith(magic)), None):
        raise BadData(f"{name}: is {kind}, not text. Save it as text, or rename it.")
    found, mark = recognize(head) or (None, 0)
    _agree(name, found, mark, encoding)
    chosen = found or encoding or UTF8
    chunks = chain([head[mark:]], iter(lambda: stream.read(_CHUNK_BYTES), b""))
    made = _checked(name, chunks) if chosen == UTF8 else _transcoded(name, chunks, chosen, shown=bool(found))
    return readable(made)


def is_utf8(stream: IO[bytes]) -> bool:
    """Return whether all of a file is UTF-8 text."""
    decoder: Any = codecs.getincrementaldecoder(UTF8)()
    for chunk in chain(iter(lambda: stream.read(_CHUNK_BYTES), b""), [b""]):
        decoder = decoder and _still(decoder, chunk)
    return decoder is not None


def decode(name: str, raw: bytes, encoding: str | None = None) -> str:
    """Decode a whole text, by its byte order mark, else by `encoding` (None: UTF-8).

    Raises:
        BadData: it does not have the encoding.
        UnicodeDecodeError: it is not UTF-8, and no other encoding was detected.
    """
    found, mark = recognize(raw) or (None, 0)
    _agree(name, found, mark, encoding)
    chosen = found or encoding or UTF8
    if chosen == UTF8:
        return raw[mark:].decode()
    return b"".join(_transcoded(name, iter([raw[mark:]]), chosen, shown=bool(found))).decode()


def not_utf8(name: str, raw: bytes, line: int = 0, named: str | None = None) -> BadData:
    """Return the error for a text that is not UTF-8, with the encoding that it declares or may have."""
    escaped = raw.decode(errors="surrogateescape")
    bad = [(n, text) for n, text in enumerate(escaped.split("\n"), 1) if _ESCAPED.search(text)]
    samples = [_bytes(text[:_SAMPLE]) for _, text in bad[:_SAMPLES]]
    return _wrong_encoding(name, line or (bad[0][0] if bad else 1), samples, len(bad), named)


def encodable(text: str) -> str:
    """Return a text as UTF-8 can have it: lone surrogates, as of undecodable bytes, are escaped."""
    return text.encode(errors="backslashreplace").decode()


def has_nul(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Return whether a value, or an item of a list or mapping, has a NUL character.

    Raises:
        RecursionError: it has more than this number of levels.
    """
    if isinstance(value, str):
        return "\0" in value
    if not isinstance(value, dict | list | tuple):
        return False
    if not levels:
        raise RecursionError
    parts = chain.from_iterable(value.items()) if isinstance(value, dict) else value
    return any(has_nul(part, levels - 1) for part in parts)


def _agree(name: str, found: str | None, mark: int, given: str | None) -> None:
    """Raise BadData if the given encoding contradicts the bytes; a byte order mark takes precedence."""
    if mark or given is None:
        return
    if found and not found.startswith(given):
        raise BadData(f"{name}: is {found} text, and data.encoding is {given}. Set it to {found}.")
    if not found and given in ("utf-16", "utf-32"):
        raise BadData(
            f"{name}: has no byte order mark and does not look like {given}. Correct data.encoding: without "
            f"a mark, use {given}-le or {given}-be."
        )


class _Chunks(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        taken = self._rest[: len(buffer)]
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def readable(chunks: Iterator[bytes]) -> IO[bytes]:
    """Return an iterator of bytes as a file."""
    return io.BufferedReader(_Chunks(chunks))


def _checked(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    lines = _Lines()
    decoder = codecs.getincrementaldecoder(UTF8)("surrogateescape")
    held = b""
    for chunk in chunks:
        yield held
        lines.add(decoder.decode(chunk))
        held = chunk
    # The last chunk is yielded after the check, so that a small file is refused before its first row.
    lines.add(decoder.decode(b"", final=True))
    lines.check(name)
    yield held


class _Lines:
    """Counts the lines that are not UTF-8, and those that are and have non-ASCII characters."""

    def __init__(self) -> None:
        self.good = self.bad = 0
        self._first_bad = 0
        self._samples: list[bytes] = []
        self._line = 1
        self._is_good = self._is_bad = False  # the line that has begun

    def add(self, text: str) -> None:
        first, *others = [text] if text.isascii() and "\n" not in text else text.split("\n")
        self._piece(first)
        for piece in others:
            self._end()
            self._piece(piece)

    def check(self, name: str) -> None:
        """Raise BadData if the whole file has another encoding."""
        self._end()
        if self.bad >= MIN_BAD and self.bad > self.good:
            raise _wrong_encoding(name, self._first_bad, self._samples, self.bad)

    def _end(self) -> None:
        self._line += 1
        self.bad += self._is_bad
        self.good += self._is_good and not self._is_bad
        self._is_good = self._is_bad = False

    def _piece(self, text: str) -> None:
        if text.isascii():
            return
        if not self._is_bad and (found := _ESCAPED.search(text)):
            self._is_bad = True
            self._first_bad = self._first_bad or self._line
            if len(self._samples) < _SAMPLES:
                start = max(0, found.start() - _SAMPLE // 2)
                self._samples.append(_bytes(text[start : start + _SAMPLE]))
        self._is_good = self._is_good or bool(_NON_ASCII.search(text))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _wrong_encoding(
    name: str, line: int, samples: list[bytes], lines: int, named: str | None = None
) -> BadData:
    others = f", nor are {lines - 1:,} other lines" if lines > 1 else ""
    guess = named or _guess(b"\n".join(samples))
    may_be = f" It may be {guess}." if guess else ""
    example = guess or "cp1252"
    return BadData(
        f"{name}:{line}: is not UTF-8 text{others}.{may_be} Set data.encoding in the recipe, such as "
        f"{example}, or convert the file: iconv -f {example} -t UTF-8."
    )


def _guess(raw: bytes) -> str | None:
    """Guess the encoding of some lines, for a message only: the guess is often wrong."""
    western = raw.decode("cp1252", errors="replace")
    others = [character for character in western if not character.isascii()]
    letters = sum(character.isalpha() for character in western)
    # charset-normalizer mistakes short Western texts for cp1250 or shift_jis.
    if others and _WESTERN.issuperset(others) and len(others) <= 0.3 * letters:
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(raw, cp_isolation=[name for name in CODECS if not name.startswith("utf")]).best()
    return CODECS.get(codecs.lookup(best.encoding).name) if best else None


def _transcoded(name: str, chunks: Iterator[bytes], encoding: str, shown: bool) -> Iterator[bytes]:
    """Yield UTF-8; `shown`: the encoding was detected in the file, not only named in the recipe."""
    decoder = codecs.getincrementaldecoder(encoding)()
    utf8: Any = None if shown else codecs.getincrementaldecoder(UTF8)()
    line, empty, ascii_only = 1, True, True
    for chunk in chain(chunks, [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, errors="ignore").count("\n")
            raise BadData(
                f"{name}:{line}: cannot be decoded as {encoding}: {error.reason}. Correct data.encoding, or "
                "repair the file."
            ) from None
        if encoding.startswith("iso-8859") and _C1.search(text):
            raise BadData(
                f"{name}: has control characters that {encoding} text never has: it is probably cp1252. Set "
                "data.encoding."
            )
        empty, ascii_only = empty and not chunk, ascii_only and chunk.isascii()
        utf8 = utf8 and _still(utf8, chunk)
        line += text.count("\n")
        if text:
            yield text.encode()
    # Non-ASCII text in another encoding is almost never valid UTF-8.
    if utf8 and not empty and (not ascii_only or encoding in WIDE):
        raise BadData(
            f"{name}: is UTF-8 text, and data.encoding is {encoding}. Remove data.encoding, or set utf-8."
        )


def _still(decoder: Any, chunk: bytes) -> Any:
    """Return the decoder if all bytes so far are UTF-8 text, else None."""
    if b"\0" in chunk:
        return None
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError:
        return None
    return decoder
