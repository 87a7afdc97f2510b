from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hub.errors import BadAdapter, HubError, UnsafeWeights, UnsupportedAdapter
from hub.store.content.weights import WEIGHTS_FILE, read_adapter, read_tensors


def test_every_float_type_is_read_as_float32(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    values = torch.tensor([[1.5, -2.25], [0.0, 3e4]])
    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp64": torch.float64}
    path = tmp_path / "w.safetensors"
    save_torch({name: values.to(dtype) for name, dtype in types.items()}, path)
    tensors = read_tensors(path)
    for name, dtype in types.items():
        assert tensors[name].dtype == np.float32
        np.testing.assert_array_equal(tensors[name], values.to(dtype).float().numpy())


def test_a_scalar_and_an_empty_tensor_keep_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"one": np.array(2.0, np.float32), "none": np.zeros((0, 4), np.float16)}, path)
    assert {name: array.shape for name, array in read_tensors(path).items()} == {"one": (), "none": (0, 4)}


def test_a_number_too_large_for_float32_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"large": np.array([1e200])}, path)
    with pytest.raises(BadAdapter, match="'large' holds NaN or infinity"):
        read_tensors(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"good": np.ones(3, np.float32), "spoilt": np.array([1.0, bad], np.float16)}, path)
    with pytest.raises(BadAdapter, match="'spoilt' holds NaN or infinity"):
        read_tensors(path)


def test_integers_are_no_adapter(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"ids": np.arange(3)}, path)
    with pytest.raises(UnsupportedAdapter, match="I64"):
        read_tensors(path)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({}, path)
    with pytest.raises(BadAdapter, match="no tensors"):
        read_tensors(path)


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BadAdapter, match="not valid safetensors"):
        read_tensors(path)


def pickled(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(pickle.dumps({"w": [1.0]}))


def zipped(folder: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"\x80\x04.")
    (folder / WEIGHTS_FILE).write_bytes(buffer.getvalue())


def pickle_instead(folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder / "adapter_model.bin")


def huge_header(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((2**62).to_bytes(8, "little") + b"{}" + bytes(64))


def truncated(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:-5])


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()


def no_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def config_is_no_json(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("r: 8")


def config_is_a_list(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("[]")


def config_of_something_else(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"model_type": "bert"}')


def huge_config(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "x": "y" * 1_000_001}))


SPOILT = [
    (pickled, UnsafeWeights, "pickle"),
    (zipped, UnsafeWeights, "zip"),
    (pickle_instead, UnsafeWeights, "adapter_model.bin"),
    (huge_header, UnsafeWeights, "another format"),
    (truncated, BadAdapter, "truncated"),
    (no_weights, BadAdapter, "has no adapter_model.safetensors"),
    (no_config, BadAdapter, "has no adapter_config.json"),
    (config_is_no_json, BadAdapter, "not JSON"),
    (config_is_a_list, BadAdapter, "peft_type"),
    (config_of_something_else, BadAdapter, "peft_type"),
    (huge_config, BadAdapter, "1,000,000 bytes"),
]


@pytest.mark.parametrize(("spoil", "error", "says"), SPOILT)
def test_a_spoilt_folder_is_refused(peft_folder, spoil, error: type[HubError], says: str) -> None:
    folder = peft_folder()
    spoil(folder)
    with pytest.raises(error, match=says) as caught:
        read_adapter(folder)
    assert type(caught.value) is error


@pytest.mark.parametrize(("spoil", "error", "says"), SPOILT)
def test_a_spoilt_folder_is_not_stored(store, serving, peft_folder, spoil, error, says: str) -> None:
    folder = peft_folder()
    spoil(folder)
    with pytest.raises(error, match=says):
        store.add("x", folder, serving, origin="imported")
    assert store.versions() == []
    assert [path.name for path in store.contents.folder.glob("*") if path.name != ".lock"] == []
