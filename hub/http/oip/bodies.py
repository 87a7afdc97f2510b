"""The JSON objects of the protocol.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "InferAnswer",
    "InferCall",
    "InferError",
    "ModelMetadata",
    "ServerMetadata",
    "TensorIn",
    "TensorOut",
]

MAX_DIMENSIONS = 64  # as numpy has; with any number, a short body took hours


class TensorIn(BaseModel):
    """An input tensor; its elements are in `data`, or binary after the JSON object."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    shape: list[int] = Field(
        max_length=MAX_DIMENSIONS, description="One text per element; all inputs have the same number."
    )
    datatype: str = Field(description="BYTES", examples=["BYTES"])
    parameters: dict[str, Any] | None = Field(None, description="`binary_data_size` of binary elements.")
    data: list[Any] | None = Field(None, description="Texts, flat or nested as the shape.")


class WantedTensor(BaseModel):
    """An output tensor that is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    parameters: dict[str, Any] | None = Field(None, description="`binary_data`: binary, after the object.")


class InferCall(BaseModel):
    """A call of a deployment with a batch of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None = Field(None, description="Returned with the answer.")
    parameters: dict[str, Any] | None = Field(
        None, description="Fields of the task's request, for every row; `binary_data_output`: all binary."
    )
    inputs: list[TensorIn] = Field(description="One tensor for each text field of the task's request.")
    outputs: list[WantedTensor] | None = Field(None, description="Default: all that the answers have.")


class TensorOut(BaseModel):
    """An output tensor."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] = Field(default_factory=list)


class InferAnswer(BaseModel):
    """The answers to a batch."""

    model_name: str = Field(description="The deployment.")
    model_version: str = Field(description="The number of its version.")
    id: str | None = None
    parameters: dict[str, Any] = Field(description="The version, name@N, and its sha256.")
    outputs: list[TensorOut]


class InferError(BaseModel):
    """An error."""

    error: str
    code: str = Field(description="Stable: a program may match on it.")


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor; -1 is a dimension of any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A deployment with its tensors."""

    name: str
    versions: list[str] = Field(description="Numbers of the stable version and of the canary.")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str] = Field(
        description="Task, version, sha256, labels in the order of `scores`, and optional fields."
    )
