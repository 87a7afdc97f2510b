"""Elements of tensors, as JSON or binary: BYTES have their length before them as a little-endian uint32."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub.errors import BadRequest, InvalidText, TooLarge
from hub.http.oip.bodies import TensorIn

__all__ = ["Tensor", "split_body", "texts_of"]

_FORMATS = {"FP32": "f", "INT64": "q", "BOOL": "?"}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its elements in row-major order."""

    name: str
    datatype: str  # BYTES, FP32, INT64 or BOOL
    shape: tuple[int, ...]
    elements: Sequence[Any]

    def binary(self) -> bytes:
        """Return the elements as bytes."""
        if self.datatype == "BYTES":
            encoded = [element.encode() for element in self.elements]
            return b"".join(part for one in encoded for part in (_LENGTH.pack(len(one)), one))
        return struct.pack(f"<{len(self.elements)}{_FORMATS[self.datatype]}", *self.elements)


def split_body(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    """Return the JSON object of a body and the binary elements after it.

    Raises:
        BadRequest: `json_length`, the header Inference-Header-Content-Length, does not fit the body.
    """
    if json_length is None:
        return body, b""
    if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 12):
        raise BadRequest("Inference-Header-Content-Length must be a number of bytes.")
    length = int(json_length)
    if length > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length is {length:,} and the body has {len(body):,} bytes."
        )
    return body[:length], body[length:]


def texts_of(inputs: Sequence[TensorIn], binary: bytes, max_items: int) -> dict[str, list[str]]:
    """Return the texts of each tensor; all have the same number.

    Raises:
        BadRequest: a tensor is repeated, has another datatype, or its elements do not fit its shape.
        InvalidText: an element is not UTF-8.
        TooLarge: it has more than `max_items` elements.
    """
    found: dict[str, list[str]] = {}
    for tensor in inputs:
        if tensor.name in found:
            raise BadRequest(f"The input {tensor.name[:80]!r} is given twice.")
        taken, found[tensor.name] = _texts(tensor, binary, max_items)
        binary = binary[taken:]
    if binary:
        raise BadRequest(f"{len(binary):,} bytes follow the binary inputs. Check their binary_data_size.")
    if len({len(texts) for texts in found.values()}) > 1:
        raise BadRequest("The inputs have different numbers of elements. Send one for each text.")
    return found


def _texts(tensor: TensorIn, binary: bytes, max_items: int) -> tuple[int, list[str]]:
    """Return how many of the binary bytes the tensor takes, and its texts."""
    name = tensor.name[:80]
    if tensor.datatype != "BYTES":
        raise BadRequest(f"The input {name!r} must have the datatype BYTES: it holds texts.")
    count = math.prod(tensor.shape)
    if count < 1 or min(tensor.shape, default=1) < 1:
        raise BadRequest(f"The input {name!r} has no element. Send at least one text.")
    if count > max_items:
        raise TooLarge(
            f"The input {name!r} has more than {max_items} elements, the limit (limits.items). Send fewer."
        )
    parameters = dict(tensor.parameters or {})
    size = parameters.pop("binary_data_size", None)
    if parameters:
        raise BadRequest(f"The input {name!r} has the parameter {min(parameters)[:80]!r}, which is not read.")
    if (size is None) == (tensor.data is None):
        raise BadRequest(f"The input {name!r} needs either data or the parameter binary_data_size.")
    if size is None:
        return 0, _from_json(name, tensor.data, count, len(tensor.shape))
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
        raise BadRequest(f"binary_data_size of the input {name!r} does not fit the body.")
    return size, _from_binary(name, binary[:size], count)


def _from_json(name: str, data: Any, count: int, levels: int) -> list[str]:
    for _ in range(levels - 1):
        if not all(isinstance(one, list) for one in data):
            break
        data = [element for one in data for element in one]
    if len(data) != count or not all(isinstance(one, str) for one in data):
        raise BadRequest(f"The data of the input {name!r} must be {count} texts, as its shape says.")
    return list(data)


def _from_binary(name: str, data: bytes, count: int) -> list[str]:
    texts, at = [], 0
    for _ in range(count):
        start = at + _LENGTH.size
        if start > len(data):
            break
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > len(data):
            break
        try:
            texts.append(data[start:at].decode())
        except UnicodeDecodeError:
            raise InvalidText(f"Element {len(texts) + 1} of the input {name!r} is not UTF-8.") from None
    if len(texts) != count or at != len(data):
        raise BadRequest(
            f"The binary data of the input {name!r} is not {count} texts, each after its length as a "
            "little-endian uint32."
        )
    return texts
