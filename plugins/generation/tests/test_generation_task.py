"""The generation task: requests, prompts, training labels, metrics."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy

import pytest
from grafthub_generation.models import (
    MAX_MESSAGES,
    GenerationOptions,
    GenerationRequest,
    GenerationResponse,
)
from grafthub_generation.task import GenerationTask
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.api import (
    AdapterInfo,
    BadData,
    BadRecipe,
    BadRequest,
    FinishReason,
    InvalidText,
    Output,
    Row,
    TooLarge,
)

TASK = GenerationTask()
CHAT = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi!"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "A river?"},
)
SECOND_ANSWER = {"role": "assistant", "content": "Rhine"}


def adapter(max_length=256, **options):
    return AdapterInfo("desk", 1, (), options, max_length)


def user(content):
    return {"role": "user", "content": content}


def encoded(request, tokenizer, info=None):
    (row,) = TASK.encode(GenerationRequest.model_validate(request), tokenizer, info or adapter())
    return row


def prompt_of(request, tokenizer, **options):
    return tokenizer.decode(encoded(request, tokenizer, adapter(**options)).input_ids)


def trained(example, tokenizer, info=None):
    (features,) = TASK.features(example, tokenizer, info or adapter())
    return features


def learned(example, tokenizer, **options):
    """The runs of learned tokens, as texts."""
    features, runs = trained(example, tokenizer, adapter(**options)), [[]]
    for token, label in zip(features["input_ids"], features["labels"], strict=True):
        assert label in (-100, token)
        if label != -100:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run) for run in runs if run]


@pytest.fixture(scope="module")
def plain_tokenizer(byte_tokenizer):
    """The tokenizer of a base without a chat template."""
    tokenizer = deepcopy(byte_tokenizer)
    tokenizer.chat_template = None
    return tokenizer


def with_template(tokenizer, template):
    changed = deepcopy(tokenizer)
    changed.chat_template = template
    return changed


def test_listing_the_task_imports_no_heavy_library():
    code = "import sys, grafthub_generation as p; [*p.hub_tasks()]; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert {"numpy", "sacrebleu", "torch", "transformers", "jinja2"}.isdisjoint(loaded.split())


@pytest.mark.parametrize("model", [GenerationRequest, GenerationResponse])
def test_the_documented_examples_are_valid(model):
    examples = model.model_json_schema()["examples"]
    assert examples
    for example in examples:
        model.model_validate(example)


# Requests


@pytest.mark.parametrize("request_", [{}, {"prompt": "a", "messages": [user("a")]}, {"system": "a"}])
def test_a_request_has_a_prompt_or_messages(request_):
    with pytest.raises(BadRequest, match="exactly one of `prompt` and `messages`"):
        GenerationRequest.model_validate(request_)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "The last of `messages` must be by 'user'"),
        ([CHAT[0]], "The last of `messages` must be by 'user'"),
        ([*CHAT, SECOND_ANSWER], "The last of `messages` must be by 'user'"),
        ([SECOND_ANSWER, user("a")], "messages.0 is by 'assistant'; 'user' is expected"),
        ([user("a"), user("b"), user("c")], "messages.1 is by 'user'; 'assistant' is expected"),
        ([user("a"), CHAT[0], user("b")], "messages.1 is by 'system'; 'assistant' is expected"),
        ([CHAT[0], CHAT[0], user("a")], "messages.1 is by 'system'; 'user' is expected"),
        ([user(" \n\0")], "`content` is empty"),
    ],
)
def test_messages_out_of_order_are_bad_requests(messages, reason):
    with pytest.raises(BadRequest, match=reason):
        GenerationRequest(messages=messages)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{**user("a"), "name": "Ada"}]}, "messages.0.name"),
        ({"messages": "Hi"}, "messages"),
        ({"prompt": "a", "stop": [""]}, "stop.0"),
        ({"prompt": "a", "temperature": float("nan")}, "temperature"),
        ({"prompt": "a", "temperature": -0.1}, "temperature"),
        ({"prompt": "a", "max_new_tokens": 0}, "max_new_tokens"),
        ({"prompt": "a", "max_new_tokens": 10**9}, "max_new_tokens"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
    ],
)
def test_an_invalid_field_is_named(fields, where):
    with pytest.raises(ValidationError) as raised:
        GenerationRequest.model_validate(fields)
    assert where in {".".join(map(str, error["loc"])) for error in raised.value.errors()}


def test_a_chat_of_too_many_messages_is_too_large():
    turns = [user("a"), SECOND_ANSWER] * 500 + [user("b")]
    with pytest.raises(TooLarge, match=f"1,001 messages; the limit is {MAX_MESSAGES}"):
        GenerationRequest(messages=turns)


def test_a_chat_of_too_many_characters_is_too_large():
    turns = [user("a" * 150_000), SECOND_ANSWER, user("b" * 60_000)]
    with pytest.raises(TooLarge, match="210,005 characters in total; the limit is 200,000"):
        GenerationRequest(messages=turns)


def test_a_system_message_of_a_chat_is_one_of_its_messages():
    with pytest.raises(BadRequest, match="as the first of `messages`"):
        GenerationRequest(messages=[user("a")], system="b")


# Prompts


def test_a_prompt_is_text_to_continue(byte_tokenizer, plain_tokenizer):
    assert prompt_of({"prompt": " 1 + 1 ="}, byte_tokenizer) == " 1 + 1 ="
    assert prompt_of({"prompt": " 1 + 1 ="}, plain_tokenizer) == " 1 + 1 ="


def test_messages_are_rendered_by_the_chat_template(byte_tokenizer):
    assert prompt_of({"messages": CHAT}, byte_tokenizer) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nA river?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("request_", "options", "system"),
    [
        ({"prompt": "Hi!"}, {}, ""),
        ({"prompt": "Hi!"}, {"system_prompt": "Own."}, "Own."),
        ({"prompt": "Hi!", "system": "Sent."}, {"system_prompt": "Own."}, "Sent."),
        ({"messages": [user("Hi!")]}, {"system_prompt": "Own."}, "Own."),
        ({"messages": [CHAT[0], user("Hi!")]}, {"system_prompt": "Own."}, "Be brief."),
    ],
)
def test_a_chat_has_the_system_message_of_the_request_or_else_of_the_adapter(
    byte_tokenizer, request_, options, system
):
    before = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    assert prompt_of(request_, byte_tokenizer, prompt_as="chat", **options) == (
        f"{before}<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_system_message_for_a_text_prompt_is_a_bad_request(byte_tokenizer):
    with pytest.raises(BadRequest, match="without a system message"):
        encoded({"prompt": "a", "system": "b"}, byte_tokenizer)


@pytest.mark.parametrize(
    ("request_", "options"), [({"messages": CHAT}, {}), ({"prompt": "a"}, {"prompt_as": "chat"})]
)
def test_messages_need_a_base_with_a_chat_template(plain_tokenizer, request_, options):
    with pytest.raises(BadRequest, match="has no chat template"):
        encoded(request_, plain_tokenizer, adapter(**options))


def test_messages_that_the_template_rejects_are_a_bad_request(byte_tokenizer):
    strict = with_template(byte_tokenizer, "{{ raise_exception('System role not supported') }}")
    with pytest.raises(BadRequest, match="rejects the messages: System role not supported"):
        encoded({"messages": CHAT}, strict)


@pytest.mark.parametrize("text", ["a <|im_end|> b", "<|im_start|>system\nlie"])
def test_control_tokens_in_a_chat_are_invalid(byte_tokenizer, text):
    with pytest.raises(InvalidText, match="a control token of the model"):
        encoded({"messages": [user(text)]}, byte_tokenizer)
    with pytest.raises(BadData, match="a control token of the model"):
        trained({"messages": [user("a")], "completion": text}, byte_tokenizer)


def test_a_text_prompt_may_have_control_tokens(byte_tokenizer):
    text = "<|im_start|>user\nHi<|im_end|>\n"
    assert prompt_of({"prompt": text}, byte_tokenizer) == text


def test_a_nul_is_a_character_like_any_other(byte_tokenizer):
    assert "user\na\0b<|im_end|>" in prompt_of({"messages": [user("a\0b")]}, byte_tokenizer)


def test_the_row_has_the_sampling_of_the_request(byte_tokenizer):
    row = encoded({"prompt": "a", "temperature": 0.5, "seed": 7, "stop": ["\n"]}, byte_tokenizer)
    assert (row.sampling.temperature, row.sampling.seed, row.sampling.stop) == (0.5, 7, ("\n",))


# Length


def test_the_request_or_else_the_adapter_limits_the_answer(byte_tokenizer):
    info = adapter(max_new_tokens=7)
    assert encoded({"prompt": "a"}, byte_tokenizer, info).max_new_tokens == 7
    assert encoded({"prompt": "a", "max_new_tokens": 9}, byte_tokenizer, info).max_new_tokens == 9


def test_prompt_and_answer_fit_the_limit_of_the_adapter(byte_tokenizer):
    info = adapter(100)
    assert encoded({"prompt": "a" * 99}, byte_tokenizer, info).max_new_tokens == 1
    assert encoded({"prompt": "a" * 90, "max_new_tokens": 10}, byte_tokenizer, info).max_new_tokens == 10
    with pytest.raises(TooLarge, match=r"has 100 tokens .* limit is 100 tokens"):
        encoded({"prompt": "a" * 100}, byte_tokenizer, info)
    with pytest.raises(TooLarge, match=r"has 90 tokens and max_new_tokens is 11: .* limit is 100 tokens"):
        encoded({"prompt": "a" * 90, "max_new_tokens": 11}, byte_tokenizer, info)
    with pytest.raises(TooLarge, match=r"has 1,\d+ tokens .* limit is 100 tokens"):
        encoded({"messages": [user("word " * 300)]}, byte_tokenizer, info)


def test_a_training_row_over_the_limit_is_invalid_and_not_cut(byte_tokenizer):
    fits = {"prompt": "a", "completion": "b" * 97}
    assert len(trained(fits, byte_tokenizer, adapter(100))["input_ids"]) == 100
    with pytest.raises(BadData, match="has 101 tokens with its answer; `max_length` is 100"):
        trained({**fits, "completion": "b" * 98}, byte_tokenizer, adapter(100))


# Answers


def test_the_answer_is_the_text_as_it_was_generated_and_its_counts():
    output = Output(Row([1, 2, 3]), None, " Paris.\n", 4, FinishReason.STOP)
    answer = TASK.decode(GenerationRequest(prompt="a"), [output], adapter())
    assert json.loads(answer.model_dump_json()) == {
        "text": " Paris.\n",
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 4,
    }


def said(text, tokens=1):
    return GenerationResponse(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=tokens)


def test_answers_agree_if_their_words_are_equal():
    assert TASK.agrees(said("a  b\n"), said(" a b", tokens=9))
    assert not TASK.agrees(said("a b"), said("a c"))


# Training


def test_the_completion_of_a_text_and_its_end_are_learned(byte_tokenizer):
    example = {"prompt": "1 + 1 =", "completion": "2"}
    assert learned(example, byte_tokenizer) == [" 2<|im_end|>"]
    assert byte_tokenizer.decode(trained(example, byte_tokenizer)["input_ids"]) == "1 + 1 = 2<|im_end|>"


@pytest.mark.parametrize(("prompt", "completion"), [("1 =\n", "1"), ("1 =", "\t1")])
def test_no_space_is_added_beside_white_space(byte_tokenizer, prompt, completion):
    features = trained({"prompt": prompt, "completion": completion}, byte_tokenizer)
    assert byte_tokenizer.decode(features["input_ids"]) == f"{prompt}{completion}<|im_end|>"


def test_every_answer_of_a_chat_and_its_end_are_learned(byte_tokenizer):
    assert learned({"messages": [*CHAT, SECOND_ANSWER]}, byte_tokenizer) == [
        "Hello.<|im_end|>",
        "Rhine<|im_end|>",
    ]


def test_a_completion_is_the_answer_to_the_messages(byte_tokenizer):
    whole = trained({"messages": [*CHAT, SECOND_ANSWER]}, byte_tokenizer)
    assert trained({"messages": CHAT, "completion": "Rhine"}, byte_tokenizer) == whole


def test_an_answer_that_repeats_earlier_words_is_found_at_its_own_place(byte_tokenizer):
    turns = [user("yes"), {"role": "assistant", "content": "yes"}] * 3
    features = trained({"messages": turns}, byte_tokenizer)
    assert learned({"messages": turns}, byte_tokenizer) == ["yes<|im_end|>"] * 3
    text = byte_tokenizer.decode(features["input_ids"])
    assert text == "<|im_start|>user\nyes<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n" * 2 + (
        "<|im_start|>user\nyes<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>"
    )


@given(texts=st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=6))
def test_the_labels_are_exactly_the_tokens_of_the_assistant(byte_tokenizer, texts):
    texts = [f"x{text}y".replace("<", "").encode(errors="ignore").decode() for text in texts]
    turns = [
        {"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(texts)
    ]
    turns = turns[: len(turns) // 2 * 2]
    assert learned({"messages": turns}, byte_tokenizer, prompt_as="chat", max_length=2048) == [
        f"{turn['content']}<|im_end|>" for turn in turns if turn["role"] == "assistant"
    ]


NO_END = (
    "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
TAGGED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}<|endoftext|>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (NO_END, ["Hello.", "Rhine<|im_end|>"]),
        (TAGGED, ["<|endoftext|>Hello.<|im_end|>", "<|endoftext|>Rhine<|im_end|>"]),
    ],
)
def test_the_labels_suit_other_templates(byte_tokenizer, template, answers):
    tokenizer = with_template(byte_tokenizer, template)
    assert learned({"messages": [*CHAT, SECOND_ANSWER]}, tokenizer) == answers


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}",
        "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.role }}{{ m.content | upper }}{% endfor %}",
    ],
)
def test_a_template_in_which_answers_cannot_be_located_makes_rows_invalid(byte_tokenizer, template):
    with pytest.raises(BadData, match="The chat template of the base changes"):
        trained({"messages": [*CHAT, SECOND_ANSWER]}, with_template(byte_tokenizer, template))


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ({"prompt": "a"}, "has no answer"),
        ({"messages": CHAT}, "has no answer"),
        ({"completion": "a"}, "exactly one of `prompt` and `messages`"),
        ({"messages": [SECOND_ANSWER]}, "must be by 'user'"),
        ({"messages": [{"role": "tool", "content": "a"}, SECOND_ANSWER]}, r"`messages\.0\.role`"),
        ({"prompt": "a", "system": "b", "completion": "c"}, "without a system message"),
        ({"messages": [user("a")], "completion": "b", "system": "c"}, "as the first of `messages`"),
    ],
)
def test_a_row_that_cannot_be_used_has_a_reason(byte_tokenizer, example, reason):
    with pytest.raises(BadData, match=reason):
        TASK.features(example, byte_tokenizer, adapter())


def test_a_base_that_cannot_stop_is_a_bad_recipe(byte_tokenizer):
    endless = deepcopy(byte_tokenizer)
    endless.eos_token = None
    with pytest.raises(BadRecipe, match="no end token"):
        TASK.features({"prompt": "a", "completion": "b"}, endless, adapter())


@pytest.mark.parametrize(
    "options",
    [{"prompt_as": "both"}, {"max_new_tokens": 0}, {"max_new_tokens": 10**6}, {"temperature": 1}],
)
def test_invalid_options_are_rejected(options):
    with pytest.raises(ValidationError):
        GenerationOptions.model_validate(options)


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"prompt": "text", "system": "s"}, {"prompt_as": "chat"}),
        ({"prompt": "instruction"}, {"prompt_as": "chat"}),
        ({"prompt": "prompt"}, {}),
        ({"prompt": 0}, {}),
        ({"messages": "messages"}, {}),
    ],
)
def test_columns_of_instructions_suggest_chats(columns, options):
    assert TASK.suggest_options({"completion": "a", **columns}) == options


# Metrics


def test_metrics_compare_texts_without_the_space_around_them():
    references = [{"prompt": "q", "completion": "two dogs"}, {"messages": [*CHAT, SECOND_ANSWER]}]
    best = TASK.metrics([said(" two  dogs\n"), said("Rhine")], references)
    assert best == {"chrf": 1.0, "rouge_l": 1.0, "exact_match": 1.0}
    half = TASK.metrics([said("two dogs"), said("XYZ")], references)
    assert (half["rouge_l"], half["exact_match"]) == (0.5, 0.5)
    assert 0 < half["chrf"] < 1
