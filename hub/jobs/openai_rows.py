"""Reads rows in OpenAI's formats: a chat, or a prompt with its completion.

The task `generation` has these columns itself. Other tasks read the prompt, or the question of a chat with
one question, as their first text, and the completion or the answer as their label or target.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub.api import Field, FieldKind
from hub.data.fields import LABELLED

__all__ = ["CHAT", "as_prompts", "columns_for", "format_of"]

CHAT, PROMPTS = "messages", "prompt"  # the column that tells the format
_ROLES = ("user", "assistant")


def format_of(path: Path) -> str:
    """Return CHAT or PROMPTS by the first JSON object of a JSONL file, "" for other columns."""
    with path.open("rb") as file:
        for line in file:
            row = _object(line)
            if row is not None:
                return next((name for name in (CHAT, PROMPTS) if name in row), "")
    return ""


def columns_for(fields: Sequence[Field]) -> dict[str, str]:
    """Return the columns of a task's fields in a file of prompts; {} if the task reads them itself.

    Tasks that need more than a text and an answer have no such columns.
    """
    names = [field.name for field in fields]
    if PROMPTS in names:
        return {}
    texts = [field.name for field in fields if field.required and field.kind is FieldKind.TEXT]
    labels = [field.name for field in fields if field.kind in LABELLED]
    answers = [*texts[1:], *labels]
    return {texts[0]: PROMPTS, answers[0]: "completion"} if texts and answers else {}


def as_prompts(source: Path, target: Path) -> None:
    """Write the chats of a JSONL file as prompts and completions, each on the line of its chat.

    A chat may begin with a system message, which is dropped, and has one question and one answer. Other lines
    are copied, and are reported when the file is read.
    """
    with source.open("rb") as read, target.open("wb") as write:
        for line in read:
            row = _object(line)
            turns = None if row is None else _turns(row.get(CHAT))
            write.write(line.rstrip(b"\r\n") if turns is None else json.dumps(turns).encode())
            write.write(b"\n")


def _turns(messages: Any) -> dict[str, str] | None:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return None
    turns = [message for message in messages if message.get("role") != "system"]
    if tuple(message.get("role") for message in turns) != _ROLES:
        return None
    question, answer = (message.get("content") for message in turns)
    return {"prompt": question, "completion": answer}


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
