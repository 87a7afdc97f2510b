"""The plugin of what is built in: the hub provides it by the hooks that any other plugin has."""

from __future__ import annotations

from collections.abc import Iterable

from hub.api import ReaderSpec, hookimpl

__all__ = ["hub_readers"]

_READERS = "hub.data.read.readers"


@hookimpl
def hub_readers() -> Iterable[ReaderSpec]:
    """Yield the readers of data files and URLs."""
    yield ReaderSpec("csv", "Comma-separated values.", f"{_READERS}:CsvReader", (".csv",))
    yield ReaderSpec("tsv", "Tab-separated values.", f"{_READERS}:TsvReader", (".tsv",))
    yield ReaderSpec(
        "jsonl", "A JSON object in each line.", f"{_READERS}:JsonLinesReader", (".jsonl", ".ndjson")
    )
    yield ReaderSpec("json", "A list of JSON objects, or SQuAD.", f"{_READERS}:JsonReader", (".json",))
    yield ReaderSpec("squad", "SQuAD's JSON.", f"{_READERS}:SquadReader")
    yield ReaderSpec(
        "parquet", "Parquet tables.", f"{_READERS}:ParquetReader", (".parquet", ".pq"), text=False
    )
    yield ReaderSpec("conll", "Tokens with tags, a line each.", f"{_READERS}:ConllReader", (".conll",))
    # A PO file's header names its encoding, which messages of the reader quote.
    yield ReaderSpec("po", "Translations of gettext.", f"{_READERS}:PoReader", (".po",), utf8=False)
    yield ReaderSpec("tmx", "Translation memories.", f"{_READERS}:TmxReader", (".tmx",), text=False)
    yield ReaderSpec(
        "huggingface", "Data sets of the Hugging Face Hub.", f"{_READERS}:HuggingFaceReader", schemes=("hf",)
    )
