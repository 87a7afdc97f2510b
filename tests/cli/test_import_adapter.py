"""`hub adapters import` of plain PEFT folders: each is served as PEFT runs it, or refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.cli.import_adapter import split_labels
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadAdapter, BadRequest, HubError
from hub.store.store import Store

TEXT = "the app crashes when I open it"
CLASSIFY = ("--task", "classification", "--base", "tiny")
MULTI = ("--option", "multi_label=true")

MakeAdapter = Callable[..., Path]


def hub(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(kind: type[HubError], *arguments: object) -> str:
    """Import with arguments that must raise `kind`; return the message."""
    error = hub("adapters", "import", *arguments).exception
    assert isinstance(error, kind), error
    assert Store(find_home()).versions() == []
    return str(error)


def imported(folder: Path, *arguments: object) -> Any:
    """Import, and return what the manifest says of serving."""
    result = hub("adapters", "import", folder, "x", *arguments)
    assert result.exit_code == 0, result.exception
    return Store(find_home()).get("x").manifest.serving


def predicted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Deploy `x` on the torch engine and return its answer for TEXT."""
    monkeypatch.setenv("HUB_SERVE__ENGINE", "torch")
    assert hub("deploy", "x", "--as", "x").exit_code == 0
    answer = hub("predict", "x", TEXT, "--json")
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def peft_scores(base: Base, folder: Path, labels: int) -> list[float]:
    """The scores, [C], that plain PEFT gives TEXT."""
    import torch
    from transformers import AutoTokenizer

    from hub.testing.tiny import peft_model

    encoded = AutoTokenizer.from_pretrained(base.path)(TEXT, return_tensors="pt")
    with torch.inference_mode():
        logits = peft_model(base, folder, HeadKind.SEQUENCE, labels)(**encoded).logits
    scores: list[float] = logits[0].tolist()
    return scores


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    from hub.testing.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="module")
def made(base: Base, tmp_path_factory: pytest.TempPathFactory) -> MakeAdapter:
    """Make a classifier with plain PEFT, each kind once."""
    from hub.testing.tiny import tiny_adapter

    known: dict[str, Path] = {}

    def make(labels: int, kind: HeadKind = HeadKind.SEQUENCE, **settings: object) -> Path:
        key = repr((labels, kind, settings))
        if key not in known:
            folder = tmp_path_factory.mktemp("adapters") / "made"
            names = [f"l{index}" for index in range(labels)]
            known[key] = tiny_adapter(base, folder, kind=kind, labels=names, **settings)
        return known[key]

    return make


@pytest.fixture
def adapter(made: MakeAdapter, base: Base, tmp_path: Path) -> MakeAdapter:
    """Copy a made adapter into a new folder, with its base pulled; `config`: a config.json beside it."""
    Bases(find_home()).pull(str(base.path))

    def make(labels: int = 2, config: dict[str, Any] | None = None, **settings: Any) -> Path:
        folder = tmp_path / "plain"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made(labels, **settings), folder)
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


def test_a_head_with_one_output_is_refused_where_it_would_always_score_one(adapter: MakeAdapter) -> None:
    folder = adapter(1)
    message = refused(BadAdapter, folder, *CLASSIFY)
    assert "every text would score 1" in message
    assert "--option multi_label=true" in message
    assert "one output" in refused(BadAdapter, folder, "--task", "sentiment", "--base", "tiny")
    assert "one output" in refused(
        BadAdapter, adapter(1, kind=HeadKind.TOKEN), "--task", "extraction", "--base", "tiny"
    )


def test_regression_is_refused(adapter: MakeAdapter) -> None:
    folder = adapter(1, {"problem_type": "regression"})
    assert "problem_type regression" in refused(BadAdapter, folder, *CLASSIFY, *MULTI, "--labels", "score")


def test_the_logit_of_one_label_is_served_as_its_sigmoid(
    base: Base, adapter: MakeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter(1)
    assert imported(folder, *CLASSIFY, *MULTI, "--labels", "spam").labels == ("spam",)
    [logit] = peft_scores(base, folder, 1)
    scores = predicted(monkeypatch)["scores"]
    assert scores == {"spam": pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-4)}
    assert abs(logit) > 0.01


def test_a_multi_label_config_makes_a_multi_label_version(adapter: MakeAdapter) -> None:
    folder = adapter(2, {"problem_type": "multi_label_classification"})
    assert imported(folder, *CLASSIFY).settings["multi_label"] is True
    assert imported(folder, *CLASSIFY, "--option", "multi_label=false").settings["multi_label"] is False


def test_a_multi_label_config_is_refused_by_a_task_that_gives_one_label(adapter: MakeAdapter) -> None:
    folder = adapter(2, {"problem_type": "multi_label_classification"})
    assert "--task classification" in refused(BadAdapter, folder, "--task", "sentiment", "--base", "tiny")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"1": "ham", "0": "spam, or worse"}, ("spam, or worse", "ham")),
        ({"0": "LABEL_0", "1": "LABEL_1"}, ("label_0", "label_1")),
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, ("label_0", "label_1")),
    ],
)
def test_labels_come_from_the_config_in_the_order_of_its_numbers(
    adapter: MakeAdapter, names: dict[str, str], labels: tuple[str, ...]
) -> None:
    assert imported(adapter(2, {"id2label": names}), *CLASSIFY).labels == labels


def test_labels_past_ten_keep_the_order_of_their_numbers(adapter: MakeAdapter) -> None:
    names = {str(index): f"label {index}" for index in sorted(range(12), key=str)}
    assert imported(adapter(12, {"id2label": names}), *CLASSIFY).labels == tuple(
        f"label {index}" for index in range(12)
    )


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        ({"0": "a", "1": "b", "2": "c"}, (), "has 2 outputs and id2label in config.json names 3"),
        ({"0": "a", "1": "a"}, (), "two outputs the same label"),
        ({"1": "a", "2": "b"}, (), "does not name the outputs 0, 1, 2"),
        ({"0": "a", "1": ""}, (), "does not name the outputs 0, 1, 2"),
        (["a", "b"], (), "does not name the outputs 0, 1, 2"),
        ({"0": "a", "1": "b"}, ("--labels", "b,a"), "in another order"),
    ],
)
def test_labels_that_contradict_the_head_or_each_other_are_refused(
    adapter: MakeAdapter, names: object, more: tuple[str, ...], said: str
) -> None:
    assert said in refused(BadAdapter, adapter(2, {"id2label": names}), *CLASSIFY, *more)


def test_labels_given_replace_those_of_the_config(adapter: MakeAdapter) -> None:
    folder = adapter(2, {"id2label": {"0": "a", "1": "b", "2": "c"}})
    assert imported(folder, *CLASSIFY, "--labels", 'no,"yes, please"').labels == ("no", "yes, please")


def test_a_config_that_is_no_json_is_refused(adapter: MakeAdapter) -> None:
    folder = adapter(2)
    (folder / "config.json").write_text("{")
    assert "config.json is not a model's config" in refused(BadAdapter, folder, *CLASSIFY)


def test_a_quoted_label_may_hold_commas_and_quotes() -> None:
    assert split_labels('a, "b, c","say ""d""",e f') == ["a", "b, c", 'say "d"', "e f"]
    assert split_labels(" ") == []
    for wrong in ("a,,b", "a,b,", '"a'):
        with pytest.raises(BadRequest, match="--labels"):
            split_labels(wrong)


def test_a_folder_with_a_manifest_takes_no_labels_beside_it(adapter: MakeAdapter, tmp_path: Path) -> None:
    imported(adapter(2), *CLASSIFY)
    assert hub("adapters", "export", "x", tmp_path / "out").exit_code == 0
    for given in (("--labels", "a,b"), ("--max-length", "16"), MULTI):
        error = hub("adapters", "import", tmp_path / "out", "y", *given).exception
        assert isinstance(error, BadRequest)
        assert "manifest.json" in str(error)


def tokenizer_of(base: Base) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base.path)


def test_a_copy_of_the_base_s_tokenizer_is_ignored(base: Base, adapter: MakeAdapter) -> None:
    folder = adapter(2)
    tokenizer = tokenizer_of(base)
    tokenizer.model_max_length = 16
    tokenizer.padding_side = "left"
    tokenizer("a text", truncation=True, max_length=8, padding="max_length")  # the file keeps these settings
    tokenizer.save_pretrained(folder)
    imported(folder, *CLASSIFY)
    (folder / "tokenizer_config.json").unlink()
    imported(folder, *CLASSIFY)


def _lower_off(tokenizer: Any) -> None:
    from tokenizers.normalizers import Replace

    tokenizer.backend_tokenizer.normalizer = Replace("e", "a")


def _special_on_known_id(tokenizer: Any) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": ["river"]})


def _swapped(tokenizer: Any) -> None:
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["good"], vocabulary["bad"] = vocabulary["bad"], vocabulary["good"]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_lower_off, "normalizer"),
        (_special_on_known_id, "added tokens (1 differ, such as 'river')"),
        (_swapped, "vocabulary (2 differ, such as"),
    ],
)
def test_a_tokenizer_that_gives_other_tokens_is_refused(
    base: Base, adapter: MakeAdapter, change: Callable[[Any], None], named: str
) -> None:
    folder, tokenizer = adapter(2), tokenizer_of(base)
    change(tokenizer)
    tokenizer.save_pretrained(folder)
    message = refused(BadAdapter, folder, *CLASSIFY)
    assert named in message
    assert "remove tokenizer.json, tokenizer_config.json from" in message
    assert "hub base pull" in message


def test_a_tokenizer_with_more_tokens_than_the_base_has_embeddings_is_refused(
    base: Base, adapter: MakeAdapter
) -> None:
    folder, tokenizer = adapter(2), tokenizer_of(base)
    rows = json.loads((base.path / "config.json").read_text())["vocab_size"]
    tokenizer.add_tokens([f"<new {number}>" for number in range(rows)])
    tokenizer.save_pretrained(folder)
    message = refused(BadAdapter, folder, *CLASSIFY)
    assert f"the base has {rows}" in message
    assert "hub base pull" not in message


def test_a_damaged_tokenizer_is_refused(base: Base, adapter: MakeAdapter) -> None:
    folder = adapter(2)
    (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "The tokenizer in" in refused(BadAdapter, folder, *CLASSIFY)


def test_a_manifest_does_not_excuse_another_tokenizer(
    base: Base, adapter: MakeAdapter, tmp_path: Path
) -> None:
    imported(adapter(2), *CLASSIFY)
    assert hub("adapters", "export", "x", tmp_path / "out").exit_code == 0
    tokenizer = tokenizer_of(base)
    _lower_off(tokenizer)
    tokenizer.save_pretrained(tmp_path / "out")
    error = hub("adapters", "import", tmp_path / "out", "y").exception
    assert isinstance(error, BadAdapter)
    assert "normalizer" in str(error)


def test_a_base_with_the_adapter_s_tokenizer_serves_it_as_peft_does(
    base: Base, adapter: MakeAdapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dataclasses import replace

    folder, tokenizer = adapter(2), tokenizer_of(base)
    _lower_off(tokenizer)
    tokenizer.save_pretrained(folder)
    other = tmp_path / "other"
    shutil.copytree(base.path, other)
    for path in folder.glob("tokenizer*"):
        shutil.copyfile(path, other / path.name)
    Bases(find_home()).pull(str(other), "other")
    imported(folder, "--task", "classification", "--base", "other", *MULTI)
    expected = peft_scores(replace(base, path=other), folder, 2)
    scores = predicted(monkeypatch)["scores"]
    assert [scores["label_0"], scores["label_1"]] == pytest.approx(
        [1 / (1 + math.exp(-logit)) for logit in expected], abs=1e-4
    )
    assert peft_scores(base, folder, 2) != pytest.approx(expected, abs=1e-3)
