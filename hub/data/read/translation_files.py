"""Translation files: gettext PO, and TMX 1.4 (https://www.gala-global.org/tmx-14b)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from gettext import c2py
from typing import IO, Any
from xml.parsers import expat

from hub.api.kinds.reader import FilteredRow, RawRow, Table, TableRow
from hub.data.read.encodings import decode, not_utf8
from hub.errors import BadData
from hub.recipe.encodings import check_encoding

__all__ = ["po_table", "tmx_table"]

MAX_PO_BYTES = 256 << 20  # polib reads the whole file into memory
_COLUMNS = ("source", "target", "context")
_CHUNK_BYTES = 1 << 16
_NATIVE = frozenset({"bpt", "ept", "it", "ph", "ut"})  # contain codes of the document's native format
_CHARSET = re.compile(rb"charset=([\w.:-]+)", re.ASCII)
_PLURAL = re.compile(r"\bplural\s*=([^;]*)")
_SOME_NUMBERS = range(2, 101)  # covers the rules of gettext's languages, apart from those for millions
_LINE = re.compile(r"\(line (\d+)\)")


def po_table(name: str, stream: IO[bytes], encoding: str | None = None) -> Table:
    """Return the translated messages of a PO file as `source`, `target` and `context` (msgctxt).

    If the header names the language of the translations, there are columns with both language codes, too.

    Fuzzy, untranslated and obsolete messages are filtered. Singular and plural are a row each, unless the
    language has several plural forms for numbers from 2 to 100.
    `encoding` is used if the file's own is not detected; None: UTF-8.

    Raises:
        BadData: it does not have the encoding, or is not a PO file; the message has the line.
    """
    import polib

    raw = stream.read(MAX_PO_BYTES + 1)
    if len(raw) > MAX_PO_BYTES:
        raise BadData(f"{name}: has more than {MAX_PO_BYTES >> 20} MiB. Divide it.")
    try:
        text = decode(name, raw, encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise not_utf8(name, raw, line, _charset(raw)) from None
    if not text.strip():
        return Table(name, _COLUMNS, iter(()))
    try:
        # polib 1.2 takes a text without a line break for a path.
        messages = polib.pofile(_Text(f"{text}\n"), encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        found = _LINE.search(str(error))
        raise BadData(f"{name}{f':{found[1]}' if found else ''}: is not a PO file.") from None
    codes, forms = _po_languages(messages.metadata), _plural_forms(messages.metadata)
    rows = (row for entry in messages for row in _po_rows(entry, codes, forms))
    return Table(name, (*_COLUMNS, *codes), rows)


def _po_languages(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the codes of both languages; () if the header does not name the target language.

    By gettext's convention messages are in English, unless the header names another language (Poedit).
    """
    target = metadata.get("Language", "").strip().replace("_", "-")
    source = metadata.get("X-Source-Language", "").strip().replace("_", "-") or "en"
    return (source, target) if target and target != source else ()


def _plural_forms(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the numbers of the singular form and of the plural one; None unless there is one plural form.

    Three forms can be one: French has a third for millions.
    """
    found = _PLURAL.search(metadata.get("Plural-Forms", ""))
    if not found:
        return None
    try:
        form = c2py(found[1])  # undocumented, and used by gettext itself; refuses all but C's operators
        singular, plural = form(1), {form(number) for number in _SOME_NUMBERS}
    except (ValueError, ArithmeticError):
        return None
    return (singular, plural.pop()) if len(plural) == 1 else None


class _Text(str):
    """A text that splits into lines as gettext does."""

    __slots__ = ()

    def splitlines(self, keepends: bool = False) -> list[str]:
        """Split at CR and LF only.

        polib calls this method; that of `str` also splits at separators inside messages, such as U+2028.
        """
        return io.StringIO(str(self), newline=None).read().split("\n")


def _charset(raw: bytes) -> str | None:
    """Return the encoding in the header of a PO file, if it is a known one other than UTF-8."""
    found = _CHARSET.search(raw)
    try:
        named = check_encoding(found[1].decode()) if found else "utf-8"
    except ValueError:
        return None
    return None if named == "utf-8" else named


def _po_rows(entry: Any, codes: Sequence[str], forms: tuple[int, int] | None) -> Iterator[TableRow]:
    line = entry.linenum or 1
    if entry.obsolete:
        yield FilteredRow(line, "obsolete message")
    elif entry.fuzzy:
        yield FilteredRow(line, "fuzzy message")
    elif not entry.translated():
        yield FilteredRow(line, "untranslated message")
    elif not entry.msgid_plural:
        yield RawRow(line, _pair(entry.msgid, entry.msgstr, entry, codes))
    else:
        singular, plural = (0, 1) if len(entry.msgstr_plural) == 2 else forms or (None, None)
        if singular not in entry.msgstr_plural or plural not in entry.msgstr_plural:
            yield FilteredRow(line, "message with several plural forms")
            return
        yield RawRow(line, _pair(entry.msgid, entry.msgstr_plural[singular], entry, codes))
        yield RawRow(line, _pair(entry.msgid_plural, entry.msgstr_plural[plural], entry, codes))


def _pair(source: str, target: str, entry: Any, codes: Sequence[str]) -> dict[str, Any]:
    named = dict(zip(codes, (source, target), strict=True)) if codes else {}
    return {"source": source, "target": target, "context": entry.msgctxt, **named}


def tmx_table(name: str, stream: IO[bytes], languages: tuple[str, str] | None) -> Table:
    """Return the translation units of a TMX file as `source` and `target`.

    `languages` are codes such as `en` or `pt-BR`; `en` also matches `en-GB`. Without them a unit is read if
    it has two languages, one of which is the header's `srclang`. A unit that lacks one is filtered. There are
    columns with the codes, too.

    Raises:
        BadData: it is not TMX, or declares entities; the message has the line.
    """
    return Table(name, None, _tmx_rows(name, stream, languages))


def _tmx_rows(name: str, stream: IO[bytes], languages: tuple[str, str] | None) -> Iterator[TableRow]:
    reader = _Tmx()
    rows = 0
    while True:
        chunk = stream.read(_CHUNK_BYTES)
        try:
            reader.parser.Parse(chunk, not chunk)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            raise BadData(f"{name}:{error.lineno}: is not well-formed XML: {reason}.") from None
        except (LookupError, ValueError) as error:  # raised by pyexpat for unsupported encodings
            raise BadData(
                f"{name}: has an encoding that is not supported in XML: {error}. Convert the file to UTF-8, "
                "and adapt its XML declaration."
            ) from None
        except _NotTmx as error:
            raise BadData(f"{name}:{reader.parser.CurrentLineNumber}: {error}") from None
        for unit in reader.take():
            rows += isinstance(row := _tmx_row(unit, languages, reader.srclang), RawRow)
            yield row
        if not chunk:
            break
    if not rows and reader.languages:
        pair = " and ".join(languages) if languages else f"{reader.srclang or '(no srclang)'} and another"
        raise BadData(
            f"{name}: no unit has the languages {pair}. Available: {', '.join(sorted(reader.languages))}. "
            "Name two of them in data.columns, such as {source: en, target: fr}."
        )


@dataclass(slots=True)
class _Unit:
    line: int
    texts: dict[str, str] = field(default_factory=dict)


class _NotTmx(Exception):
    """The file has content that is not TMX; the message says which."""


class _Tmx:
    """Collects units from expat's events; refuses entities and external references."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._entity
        self.parser.ExternalEntityRefHandler = self._reference
        self.parser.SkippedEntityHandler = self._entity
        self.parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self.srclang = ""
        self.languages: set[str] = set()
        self._units: list[_Unit] = []
        self._unit: _Unit | None = None
        self._language = ""
        self._segment: list[str] | None = None
        self._native = 0
        self._depth = 0

    def take(self) -> list[_Unit]:
        """Return the units that ended since the last call."""
        done, self._units = self._units, []
        return done

    def _entity(self, *declared: Any) -> None:
        raise _NotTmx("uses an entity, which TMX does not need and this program does not read.")

    def _reference(self, *named: Any) -> int:
        self._entity()
        return 0

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._depth == 0 and tag != "tmx":
            raise _NotTmx(f"is not TMX: its first element is {tag[:40]!r}.")
        self._depth += 1
        if tag == "header":
            self.srclang = attributes.get("srclang", "").lower()
        elif tag == "tu":
            self._unit = _Unit(self.parser.CurrentLineNumber)
        elif tag == "tuv":
            self._language = (attributes.get("xml:lang") or attributes.get("lang") or "").lower()
        elif tag == "seg":
            self._segment = []
        elif tag in _NATIVE:
            self._native += 1

    def _text(self, text: str) -> None:
        if self._segment is not None and not self._native:
            self._segment.append(text)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if tag in _NATIVE:
            self._native -= 1
        elif tag == "seg" and self._unit and self._segment is not None:
            self._unit.texts.setdefault(self._language, "".join(self._segment))
            self.languages.add(self._language or "(none)")
            self._segment = None
        elif tag == "tu" and self._unit:
            self._units.append(self._unit)
            self._unit = None


def _tmx_row(unit: _Unit, languages: tuple[str, str] | None, srclang: str) -> RawRow | FilteredRow:
    if languages:
        source, target = (_in_language(unit.texts, language) for language in languages)
        names = languages
    else:
        source = _in_language(unit.texts, srclang)
        others = [code for code in unit.texts if code != source]
        target = others[0] if len(others) == 1 else None
        names = (source or "", target or "")
    if source is None or target is None:
        return FilteredRow(unit.line, "unit without the two languages")
    first, second = unit.texts[source], unit.texts[target]
    pair = {"source": first, "target": second, names[0]: first, names[1]: second}
    return RawRow(unit.line, {**pair, **unit.texts})


def _in_language(texts: Mapping[str, str], language: str) -> str | None:
    """Return the code of a language in a unit: the language itself, or one of its regions."""
    wanted = language.lower().replace("_", "-")
    if wanted in texts or not wanted:
        return wanted if wanted in texts else None
    return next((code for code in texts if code.replace("_", "-").startswith(f"{wanted}-")), None)
