"""Reads adapter files into numpy arrays: safetensors only, finite numbers only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.bases.weights_file import header_of, read_header
from hub.errors import BadAdapter, UnsafeWeights, UnsupportedAdapter
from hub.store.peft.names import saved_names
from hub.untrusted import open_regular, parse_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = [
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "AdapterFiles",
    "parse_adapter",
    "read_adapter",
    "read_config",
    "read_tensors",
    "write_adapter",
    "write_saved_names",
]

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "pytorch_model.bin")
_MAX_CONFIG = 1_000_000  # bytes
_NUMPY_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_MATRIX = re.compile(r"\.lora_[AB]\.weight$")


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """The contents of a PEFT folder: config, and tensors by their PEFT names."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Array]


def read_adapter(folder: Path) -> AdapterFiles:
    """Read a PEFT folder; tensors get the names that save_pretrained() gives them.

    Raises:
        BadAdapter: a file is missing, truncated or malformed, a number is not finite, or a tensor is empty.
        UnsafeWeights: the weights are not safetensors.
    """
    return _under_saved_names(read_config(folder), read_tensors(find_weights(folder)))


def parse_adapter(
    folder: Path, files: Mapping[str, bytes], check: Callable[[Mapping[str, Any]], None]
) -> AdapterFiles:
    """Parse an adapter in memory, `files` by name; `folder` names them in errors.

    `check` receives the header of the weights before they are parsed.

    Raises: as `read_adapter` and `check`.
    """
    path, weights = folder / WEIGHTS_FILE, files[WEIGHTS_FILE]
    check(header_of(BytesIO(weights), len(weights), path, BadAdapter))
    return _under_saved_names(
        _parse_config(files[CONFIG_FILE], folder / CONFIG_FILE), _tensors(weights, path)
    )


def _under_saved_names(config: Mapping[str, Any], tensors: Mapping[str, Array]) -> AdapterFiles:
    names = saved_names(tensors)
    for name, tensor in tensors.items():
        if not tensor.size or (tensor.ndim == 1 and _MATRIX.search(names[name])):
            raise BadAdapter(
                f"Tensor {name!r} has the shape {tensor.shape}: it was saved as one part of several, as "
                "DeepSpeed ZeRO-3 and FSDP keep weights. Gather them before save_pretrained(): "
                "stage3_gather_16bit_weights_on_model_save, or zero_to_fp32.py on the checkpoint."
            )
    return AdapterFiles(config, {names[name]: tensor for name, tensor in tensors.items()})


def write_saved_names(folder: Path) -> None:
    """Rename the tensors in a PEFT folder to the names that save_pretrained() gives them, if needed.

    Raises: as `read_adapter`.
    """
    names = saved_names(read_header(find_weights(folder), BadAdapter))
    if any(name != saved for name, saved in names.items()):
        write_adapter(folder, read_adapter(folder))


def find_weights(folder: Path) -> Path:
    """Return the weights file of a PEFT folder, or raise BadAdapter or UnsafeWeights."""
    path = folder / WEIGHTS_FILE
    if path.is_file():
        return path
    if pickled := [name for name in _PICKLES if (folder / name).exists()]:
        raise UnsafeWeights(
            f"{folder} has its weights as {pickled[0]}, a pickle that can run code; it was not opened. "
            "Where you trust it, load the model with PEFT and call save_pretrained(): that writes "
            f"{WEIGHTS_FILE}."
        )
    raise BadAdapter(
        f"{folder} has no {WEIGHTS_FILE}: it is not a PEFT adapter folder. {_inside(folder)}".rstrip()
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json, or raise BadAdapter."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise BadAdapter(
            f"{folder} has no {CONFIG_FILE}: it is not a PEFT adapter folder. {_inside(folder)}".rstrip()
        )
    try:
        with open_regular(path) as file:
            return _parse_config(file.read(_MAX_CONFIG + 1), path)
    except OSError as error:
        raise BadAdapter(f"{path} is not a PEFT config: {error}.") from None


def _parse_config(data: bytes, path: Path) -> dict[str, Any]:
    try:
        if len(data) > _MAX_CONFIG:
            raise ValueError(f"it has more than {_MAX_CONFIG:,} bytes")
        config = parse_json(data)
    except ValueError as error:
        raise BadAdapter(f"{path} is not a PEFT config: {error}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise BadAdapter(f"{path} names no peft_type: it is not a PEFT config.")
    return config


def read_tensors(path: Path) -> dict[str, Array]:
    """Return the tensors of a safetensors file as float32.

    Raises:
        BadAdapter: the file is truncated or malformed, or a number is not finite.
        UnsafeWeights: it is not safetensors.
        UnsupportedAdapter: a tensor has another type than fp64, fp32, fp16 or bf16.
    """
    if not path.is_file():
        raise BadAdapter(f"{path} does not exist.")
    read_header(path, BadAdapter)
    return _tensors(path.read_bytes(), path)


def _tensors(data: bytes, path: Path) -> dict[str, Array]:
    import numpy as np
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise BadAdapter(f"{path.name} is not valid safetensors: {error}.") from None
    tensors = {}
    for name, entry in entries:
        array = _decode(name, entry)
        if not np.isfinite(array).all():
            raise BadAdapter(
                f"{path.name}: tensor {name!r} holds NaN or infinity. Train again with a lower learning rate."
            )
        tensors[name] = array
    if not tensors:
        raise BadAdapter(f"{path.name} holds no tensors.")
    return tensors


def write_adapter(folder: Path, files: AdapterFiles) -> None:
    """Write a PEFT folder for `read_adapter`, in float32."""
    from safetensors.numpy import save_file

    text = json.dumps(dict(files.config), indent=2, sort_keys=True)
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    save_file(dict(files.tensors), folder / WEIGHTS_FILE, metadata={"format": "pt"})


def _inside(folder: Path) -> str:
    """Return a hint on subfolders with an adapter: PEFT makes one per adapter not named "default"."""
    found = sorted(str(path.parent) for path in folder.glob(f"*/{CONFIG_FILE}"))
    return f"There is one in {' and in '.join(found[:3])}: give that path." if found else ""


def _decode(name: str, entry: Mapping[str, Any]) -> Array:
    import numpy as np

    data, dtype, shape = entry["data"], entry["dtype"], entry["shape"]
    if dtype == "BF16":  # the upper half of a float32
        array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in _NUMPY_TYPES:
        with np.errstate(over="ignore"):  # the caller refuses infinite values
            array = np.frombuffer(data, _NUMPY_TYPES[dtype]).astype(np.float32)
    else:
        raise UnsupportedAdapter(f"Tensor {name!r} has type {dtype}; adapters are F32, F16, BF16 or F64.")
    return array.reshape(shape)
