"""`hub adapters import` of plain PEFT folders: each is served as PEFT runs it, or refused."""

from __future__ import annotations

import json
import math
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hub.api import HeadKind, TargetKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.cli.adapters import split_labels
from hub.cli.main import app
from hub.config import find_home
from hub.errors import BadAdapter, BadRequest, HubError, UnsupportedAdapter
from hub.store.store import Store
from tests.support.plugins import installing, write_page

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

    from tests.support.tiny import peft_model

    encoded = AutoTokenizer.from_pretrained(base.path)(TEXT, return_tensors="pt")
    with torch.inference_mode():
        logits = peft_model(base, folder, HeadKind.SEQUENCE, labels)(**encoded).logits
    scores: list[float] = logits[0].tolist()
    return scores


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    from tests.support.tiny import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="module")
def made(base: Base, tmp_path_factory: pytest.TempPathFactory) -> MakeAdapter:
    """Make a classifier with plain PEFT, each kind once."""
    from tests.support.tiny import tiny_adapter

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


@pytest.fixture
def ratings(tmp_path: Path) -> Iterator[None]:
    """Install the plugin of docs/plugins/numbers.md, whose tasks are year and stars."""
    with installing(tmp_path / "site") as install:
        install(write_page("numbers", tmp_path))
        yield


def test_a_head_with_one_output_is_refused_where_it_would_always_score_one(adapter: MakeAdapter) -> None:
    folder = adapter(1)
    message = refused(BadAdapter, folder, *CLASSIFY)
    assert "every text would score 1" in message
    assert "--option multi_label=true" in message
    assert "one output" in refused(BadAdapter, folder, "--task", "sentiment", "--base", "tiny")
    tokens = (adapter(1, kind=HeadKind.TOKEN), "--task", "extraction", "--base", "tiny", "--labels", "O")
    assert "one output" in refused(BadAdapter, *tokens)


def test_regression_is_refused_for_a_task_with_labels_and_the_error_names_those_with_numbers(
    adapter: MakeAdapter, ratings: None
) -> None:
    folder = adapter(1, {"problem_type": "regression"})
    message = refused(BadAdapter, folder, *CLASSIFY, *MULTI, "--labels", "score")
    assert "problem_type regression" in message and "that learns numbers: stars, year" in message


def test_a_regression_adapter_answers_with_the_number_of_peft(
    base: Base, adapter: MakeAdapter, ratings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter(1, {"problem_type": "regression", "id2label": {"0": "price"}})
    serving = imported(folder, "--task", "year", "--base", "tiny")
    assert (serving.numbers.kind, serving.labels) == (TargetKind.NUMBER, ("number",))
    answer = predicted(monkeypatch)
    assert answer["value"] == pytest.approx(peft_scores(base, folder, 1)[0], abs=1e-4)


def test_the_levels_of_an_ordinal_adapter_are_given_as_labels(adapter: MakeAdapter, ratings: None) -> None:
    arguments = (adapter(1), "--task", "stars", "--base", "tiny")
    assert "--labels 1,2,3,4,5" in refused(BadRequest, *arguments)
    assert "--labels 1,2,3,4,5" in refused(BadRequest, *arguments, "--labels", "one,two")
    assert imported(*arguments, "--labels", "5,1,3").numbers.levels == (1, 3, 5)


def test_what_does_not_suit_a_task_that_learns_numbers_is_refused(
    adapter: MakeAdapter, ratings: None
) -> None:
    year = ("--task", "year", "--base", "tiny")
    assert "leave out --labels" in refused(BadRequest, adapter(1), *year, "--labels", "price")
    assert "the head of this adapter has 2" in refused(BadAdapter, adapter(2), *year)


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


@pytest.mark.parametrize("labels", [(), ("--labels", "a,b")])
def test_an_adapter_of_another_kind_than_the_task_is_told_before_its_labels(
    adapter: MakeAdapter, labels: tuple[str, ...]
) -> None:
    message = refused(BadAdapter, adapter(2, kind=HeadKind.TOKEN), *CLASSIFY, *labels)
    assert "'classification' needs a sequence head, and this adapter has a token head" in message
    assert "Tasks with that head: extraction." in message
    assert "correct its task_type, TOKEN_CLS, in adapter_config.json" in message


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


def test_a_task_that_cannot_answer_with_the_labels_refuses_them(adapter: MakeAdapter) -> None:
    common = (adapter(2), "--task", "sentiment", "--base", "tiny")
    message = refused(BadAdapter, *common)
    assert "This adapter cannot answer the example of the task 'sentiment'" in message
    assert "label_0" in message
    assert "options.polarity" in message
    assert imported(*common, "--labels", "positive,negative").labels == ("positive", "negative")
    polarity = ("--option", 'polarity={"label_0": -1, "label_1": 1}')
    assert imported(*common, *polarity).settings["polarity"] == {"label_0": -1.0, "label_1": 1.0}


def test_an_import_names_the_plugin_and_a_folder_of_ours_is_tried_too(
    adapter: MakeAdapter, tmp_path: Path
) -> None:
    serving = imported(adapter(2), "--task", "sentiment", "--base", "tiny", "--labels", "positive,negative")
    store = Store(find_home())
    (version,) = store.versions()
    assert version.manifest.plugin is not None
    assert version.manifest.plugin.distribution == "grafthub-sentiment"
    assert version.manifest.plugin.fingerprint == serving.contract
    folder = store.export(version.ref, tmp_path / "exported")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["serving"]["settings"]["temperature"] = 0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    store.remove(version.ref)
    assert "Option 'temperature'" in refused(BadAdapter, folder)


def test_the_tags_of_tokens_have_to_be_named(adapter: MakeAdapter) -> None:
    common = ("--task", "extraction", "--base", "tiny")
    assert "--labels O,B-NAME,I-NAME" in refused(BadAdapter, adapter(3, kind=HeadKind.TOKEN), *common)
    names = {"0": "O", "1": "B-city", "2": "I-city"}
    folder = adapter(3, {"id2label": names}, kind=HeadKind.TOKEN)
    assert imported(folder, *common).labels == ("O", "B-city", "I-city")


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


@pytest.mark.parametrize(
    ("name", "noted"),
    [("somebody/TINY", False), ("/models/tiny/", False), ("", False), ("somebody/tiny-cased", True)],
)
def test_another_base_in_the_config_is_noted(adapter: MakeAdapter, name: str, noted: bool) -> None:
    folder = adapter(2)
    edit(folder, lambda tensors: tensors, base_model_name_or_path=name)
    shown = " ".join(hub("adapters", "import", folder, *CLASSIFY).stdout.split())
    assert (f"config names {name}, and it was imported for tiny" in shown) is noted
    result = json.loads(hub("adapters", "import", folder, *CLASSIFY, "--json").stdout)
    assert result["trained_on"] == (name if noted else "")


def edit(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]], **config: object) -> None:
    """Change an adapter's tensors by name, and keys of its config."""
    from safetensors.numpy import load_file, save_file

    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    save_file(change(load_file(weights)), weights)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | config))


def renamed(*pairs: tuple[str, str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Replace patterns in the names of tensors."""

    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        for old, new in pairs:
            tensors = {re.sub(old, new, name): tensor for name, tensor in tensors.items()}
        return tensors

    return change


def each(ending: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Change the tensors whose names end so; None removes one."""

    def change_all(tensors: dict[str, Any]) -> dict[str, Any]:
        made = {name: change(tensor) if name.endswith(ending) else tensor for name, tensor in tensors.items()}
        return {name: tensor for name, tensor in made.items() if tensor is not None}

    return change_all


def doubled(tensors: dict[str, Any]) -> dict[str, Any]:
    more = {name.replace(".weight", ".other.weight"): value for name, value in tensors.items()}
    return tensors | {name: value for name, value in more.items() if "lora_" in name}


LORA_NAMED = (r"\.(lora_[AB])\.weight$", r".\1.default.weight")
COMPILED = (r"^base_model\.model\.", "base_model.model._orig_mod.")


@pytest.mark.parametrize(
    ("change", "config"),
    [
        (renamed(LORA_NAMED), {}),
        (renamed(COMPILED), {}),
        (renamed(("^", "_orig_mod.")), {}),
        (renamed((r"\.query\.", ".query._fsdp_wrapped_module.")), {}),
        (
            renamed(
                (r"classifier\.", "classifier.modules_to_save.mine."), (r"\.(lora_[AB])\.", r".\1.mine.")
            ),
            {},
        ),
        (each("", lambda tensor: tensor.astype("float16")), {}),
        (each("", lambda tensor: tensor), {"fan_in_fan_out": True}),
    ],
)
def test_an_adapter_saved_otherwise_than_by_peft_is_served_and_exported_as_peft_would(
    base: Base,
    adapter: MakeAdapter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    config: dict[str, object],
) -> None:
    folder = adapter(2, targets=["query", "intermediate.dense"])
    expected = peft_scores(base, folder, 2)
    edit(folder, change, **config)
    imported(folder, *CLASSIFY, *MULTI)
    scores = predicted(monkeypatch)["scores"]
    probabilities = [1 / (1 + math.exp(-logit)) for logit in expected]
    assert [scores["label_0"], scores["label_1"]] == pytest.approx(probabilities, abs=1e-3)
    assert hub("adapters", "export", "x", tmp_path / "out").exit_code == 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        assert peft_scores(base, tmp_path / "out", 2) == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (doubled, "are the same tensor"),
        (
            renamed((r"(layer\.0.*\.lora_[AB])\.", r"\1.one."), (r"(layer\.1.*\.lora_[AB])\.", r"\1.two.")),
            "several adapters: one, two",
        ),
        (each("lora_A.weight", lambda tensor: tensor[:0]), "ZeRO-3"),
        (each("lora_A.weight", lambda tensor: tensor.ravel()), "ZeRO-3"),
        (each("classifier.weight", lambda tensor: tensor[:0]), "ZeRO-3"),
        (
            each("classifier.weight", lambda tensor: tensor[:, :16].copy()),
            r"classifier.weight \(2, 32\).*classifier.weight \(2, 16\)",
        ),
        (each("classifier.bias", lambda tensor: None), r"classifier.bias \(2,\)"),
        (each("lora_A.weight", lambda tensor: tensor * float("nan")), "NaN"),
    ],
)
def test_what_a_deploy_would_refuse_is_refused_at_import(
    adapter: MakeAdapter, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    folder = adapter(2)
    edit(folder, change)
    assert re.search(said, refused(BadAdapter, folder, *CLASSIFY))


def test_a_git_lfs_pointer_is_named(adapter: MakeAdapter) -> None:
    folder = adapter(2)
    (folder / "adapter_model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    )
    message = refused(BadAdapter, folder, *CLASSIFY)
    assert "Git LFS pointer" in message
    assert f"`git lfs pull` in {folder}" in message


def test_an_adapter_in_a_named_subfolder_is_pointed_to(adapter: MakeAdapter, tmp_path: Path) -> None:
    folder = adapter(2)
    folder.rename(tmp_path / "inner")
    (tmp_path / "outer").mkdir()
    (tmp_path / "inner").rename(tmp_path / "outer" / "mine")
    message = refused(BadAdapter, tmp_path / "outer", *CLASSIFY)
    assert f"There is one in {tmp_path / 'outer' / 'mine'}: give that path." in message
    imported(tmp_path / "outer" / "mine", *CLASSIFY)


TIED = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
SAVED = pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")


@TIED
@SAVED
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_lora_on_a_tied_output_layer_goes_in_and_out_as_peft_saves_it(tmp_path: Path, family: str) -> None:
    from tests.support.tiny import tiny_adapter, tiny_decoder, tiny_encoder_decoder

    make = tiny_decoder if family == "llama" else tiny_encoder_decoder
    base = make(tmp_path / "generator", family)
    Bases(find_home()).pull(str(base.path))
    folder = tiny_adapter(
        base, tmp_path / "plain", kind=HeadKind.GENERATE, labels=(), targets=["lm_head"], exclude_modules=None
    )
    common = ("--task", "translation", "--base", "generator")
    imported(folder, *common)
    assert hub("adapters", "export", "x", tmp_path / "out").exit_code == 0
    assert hub("adapters", "import", tmp_path / "out", "again").exit_code == 0
    assert hub("adapters", "import", tmp_path / "out", "merged", "--merged").exit_code == 0
    shas = [Store(find_home()).get(name).sha256 for name in ("x", "again")]
    assert shas[0] == shas[1]


@TIED
@SAVED
def test_a_tied_output_layer_trained_in_full_is_refused_unless_it_is_merged(tmp_path: Path) -> None:
    from tests.support.tiny import tiny_adapter, tiny_decoder

    base = tiny_decoder(tmp_path / "generator")
    Bases(find_home()).pull(str(base.path))
    folder = tiny_adapter(
        base,
        tmp_path / "plain",
        kind=HeadKind.GENERATE,
        labels=(),
        targets=["q_proj"],
        exclude_modules=None,
        modules_to_save=["lm_head"],
    )
    common = (folder, "--task", "translation", "--base", "generator")
    message = refused(UnsupportedAdapter, *common)
    assert "'lm_head' was trained in full" in message
    assert "--merged" in message
    imported(*common, "--merged")
