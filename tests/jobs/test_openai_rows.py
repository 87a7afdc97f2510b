"""Rows in OpenAI's formats for tasks that have columns of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.jobs.openai_rows import CHAT, as_prompts, columns_for, format_of
from hub.registry.host import Registry

QUESTION = {"role": "user", "content": "warm\u2028film"}
ANSWER = {"role": "assistant", "content": "positive"}


def chat(*messages: object) -> str:
    return json.dumps({"messages": messages}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("sentiment", {"text": "prompt", "label": "completion"}),
        ("classification", {"text": "prompt", "label": "completion"}),
        ("summarization", {"document": "prompt", "summary": "completion"}),
        ("translation", {"source": "prompt", "target": "completion"}),
        ("generation", {}),
        ("extraction", {}),
    ],
)
def test_a_task_with_a_text_and_an_answer_reads_prompts(task: str, columns: dict[str, str]) -> None:
    assert columns_for(Registry.load().task(task).task.fields) == columns


def test_the_first_object_tells_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for text, kind in (
        (chat(QUESTION), CHAT),
        ('\nnot json\n{"prompt": "a"}', "prompt"),
        ('{"text": 1}', ""),
        ("", ""),
    ):
        path.write_text(text)
        assert format_of(path) == kind


def test_chats_become_prompts_on_their_own_lines_and_others_stay(tmp_path: Path) -> None:
    lines = [
        chat({"role": "system", "content": "x"}, QUESTION, ANSWER),
        "not json",
        "",
        chat(QUESTION),
        chat(QUESTION, ANSWER, QUESTION, ANSWER),
        '{"messages": [1]}',
    ]
    source, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text("\r\n".join(lines), newline="")
    as_prompts(source, target)
    first, *others = target.read_text().split("\n")
    assert json.loads(first) == {"prompt": QUESTION["content"], "completion": "positive"}
    assert others == [*lines[1:], ""]
