# ruff: noqa: TID253 - imported by the openvino backbone only
"""One exported graph, compiled by OpenVINO for the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import openvino
import torch
from openvino import opset13
from torch import Tensor
from torch.nn.functional import pad

from hub.engine.onnx import export
from hub.engine.onnx.binding import StackBinding
from hub.engine.torch.stacks import Parts
from hub.engine.torch.tensors import BatchTensors

__all__ = ["OpenVinoGraph", "computes_in_bf16", "padded_length"]

# Compiled kernels by node and shape; each shape of a batch keeps about 2 MB (2026.4, MiniLM, one row). With
# oneDNN's own cache at 256, as in a server, 64 held some 30 shapes in 70 MB, and 256 some 100 in 240.
CACHED_KERNELS = 128
_DTYPES = {torch.float32: openvino.Type.f32, torch.bfloat16: openvino.Type.bf16}


@cache
def _core() -> openvino.Core:
    return openvino.Core()


def computes_in_bf16() -> bool:
    """Return whether this processor has instructions for bf16 that OpenVINO uses."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def padded_length(tokens: int, longest: int) -> int:
    """Return the length to which a batch is padded: at most an eighth more, so that few shapes occur.

    OpenVINO compiles kernels for each shape, which takes 2 to 6 ms on MiniLM.
    """
    step = max(8, 1 << max(0, (tokens - 1).bit_length() - 3))
    return max(tokens, min(longest, -(-tokens // step) * step))


class OpenVinoGraph:
    """A compiled graph that reads the torch tensors of the stacks themselves.

    The stacks have `dtype`, in which the linear layers are computed; a norm or a softmax is in float32. The
    weights of the graph that are in `weights` (by path in the base) are those tensors, in float32; OpenVINO
    keeps a repacked copy of a linear layer's. With `rank_first`, the stacks of `a` are [S+1, r, in].
    """

    def __init__(
        self,
        file: Path,
        stacks: Sequence[str],
        dtype: torch.dtype,
        threads: int,
        weights: Mapping[str, Tensor],
        longest: int,
        *,
        rank_first: bool = False,
    ) -> None:
        model = _core().read_model(file)
        found = {name: t.detach() for name, t in weights.items() if t.dtype is torch.float32}
        self._weights, linear = _share(model, found)
        _read_stacks_in(model, frozenset(stacks), dtype, rank_first=rank_first)
        model.validate_nodes_and_infer_types()
        self._compiled = _core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _DTYPES[dtype].get_type_name(),
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                # Pinned threads would stay on cores that parse requests and tokenize.
                "ENABLE_CPU_PINNING": False,
                "CPU_RUNTIME_CACHE_CAPACITY": CACHED_KERNELS,
            },
        )
        self._inputs = {name for port in self._compiled.inputs for name in port.get_names()}
        self._width = self._compiled.output(0).get_partial_shape()[2].get_length()
        self._longest = longest
        self._idle: list[StackBinding[openvino.InferRequest]] = []  # at most one per concurrent run
        self.stacks = frozenset(stacks)
        self.packs = "segments" in self._inputs
        unshared = file.stat().st_size - sum(tensor.nbytes for tensor in self._weights)
        self.nbytes = unshared + linear * dtype.itemsize

    def forget(self, layers: Mapping[str, Parts]) -> None:
        """Drop requests with other stacks, which keep the memory of replaced stacks alive."""
        self._idle = [request for request in self._idle if request.reads(layers)]

    def run(self, batch: BatchTensors, layers: Mapping[str, Parts]) -> Tensor:
        """Return the last hidden states; a new stack comes in a new `layers` mapping."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = StackBinding(self._compiled.create_infer_request())
        request.bind(layers, self.stacks, _put)
        rows, tokens = batch.input_ids.shape
        more = padded_length(tokens, self._longest) - tokens
        # Kept in a variable until the run ends: OpenVINO holds pointers only.
        inputs = {
            name: pad(tensor, (0, more)) if more and name != "slots" else tensor.contiguous()
            for name, tensor in zip(export.BATCH_INPUTS, batch.as_packed().present(), strict=True)
            if name in self._inputs
        }
        for name, tensor in inputs.items():
            _put(request.values, name, tensor)
        # Bound for each run, else OpenVINO overwrites the output of the previous run.
        hidden = torch.empty((rows, tokens + more, self._width))
        request.values.set_output_tensor(_shared(hidden))
        request.values.infer()
        self._idle.append(request)
        return hidden[:, :tokens] if more else hidden


def _put(values: openvino.InferRequest, name: str, tensor: Tensor) -> None:
    """Set an input to the memory of a tensor."""
    values.set_tensor(name, _shared(tensor))


def _shared(tensor: Tensor) -> openvino.Tensor:
    """Return a view of a torch tensor's memory; the caller must keep the tensor."""
    if tensor.dtype is torch.bfloat16:  # which numpy lacks
        array = tensor.view(torch.int16).numpy()
        return openvino.Tensor(array, openvino.Shape(list(tensor.shape)), openvino.Type.bf16)
    return openvino.Tensor(tensor.numpy(), shared_memory=True)


def _read_stacks_in(model: openvino.Model, stacks: Set[str], dtype: torch.dtype, *, rank_first: bool) -> None:
    """Give the inputs for stacks another dtype, and those of `a` another layout.

    What a row gathers from a stack is converted, not the stack.
    """
    if dtype is torch.float32 and not rank_first:
        return
    for parameter in model.get_parameters():
        name = parameter.get_friendly_name()
        if name not in stacks:
            continue
        parameter.set_element_type(_DTYPES[dtype])
        turned = rank_first and name.startswith("a.")
        if turned:
            slots, width, rank = parameter.get_partial_shape()
            parameter.set_partial_shape(openvino.PartialShape([slots, rank, width]))
        for reader in parameter.output(0).get_target_inputs():
            node = reader.get_node()
            assert node.get_type_name() == "Gather", "every stack is read by index_select"
            readers = node.output(0).get_target_inputs()
            converted = opset13.convert(node.output(0), "f32")
            for each in readers:
                if turned:
                    _read_rank_first(each, converted)
                else:
                    each.replace_source_output(converted.output(0))


def _read_rank_first(reader: openvino.Input, gathered: openvino.Node) -> None:
    """Give a reader of gathered [..., in, r] what was gathered as [..., r, in].

    A product of x with all the `a` of a sequence, a transposed and reshaped copy in the exported graph, reads
    them as they lie in memory: a single row takes a tenth less time.
    """
    if product := _product_of(reader.get_node()):
        width = product.input(1).get_partial_shape()[1].get_length()
        shape = opset13.constant(np.array([0, -1, width]))
        rows = opset13.reshape(gathered, shape, special_zero=True)  # [B, K * r, in]
        made = opset13.matmul(product.input_value(0), rows, transpose_a=False, transpose_b=True)
        for each in product.output(0).get_target_inputs():
            each.replace_source_output(made.output(0))
        return
    dimensions = gathered.output(0).get_partial_shape().rank.get_length()
    order = [*range(dimensions - 2), dimensions - 1, dimensions - 2]
    reader.replace_source_output(opset13.transpose(gathered, opset13.constant(np.array(order))).output(0))


def _product_of(node: openvino.Node) -> openvino.Node | None:
    """Return the product behind nodes that make gathered `a` [B, K, in, r] one matrix [B, in, K * r]."""
    for expected in ("Transpose", "Reshape"):
        readers = node.output(0).get_target_inputs()
        if node.get_type_name() != expected or len(readers) != 1:
            return None
        reader = next(iter(readers))
        node = reader.get_node()
    is_product = node.get_type_name() == "MatMul" and reader.get_index() == 1
    return node if is_product and not node.get_attributes()["transpose_b"] else None


def _share(model: openvino.Model, weights: Mapping[str, Tensor]) -> tuple[list[Tensor], int]:
    """Replace matrices in the graph by those of the base.

    Returns the shared tensors, and how many numbers those of linear layers have.
    """
    shapes = {
        shape: list(group)
        for shape, group in groupby(sorted(weights.values(), key=_shape), key=_shape)
        if len(shape) == 2
    }
    shared, linear = [], 0
    for node, transposed in _matrices(model):
        values = node.data.T if transposed else node.data
        found = next((t for t in shapes.get(values.shape, ()) if _same(t.numpy(), values)), None)
        if found is None:
            continue
        shared.append(found)
        linear += found.numel() if transposed else 0
        constant = opset13.constant(found.numpy(), shared_memory=True)
        for reader in node.output(0).get_target_inputs():
            source = constant
            if transposed:
                matmul = reader.get_node()
                source = opset13.matmul(matmul.input_value(0), constant, transpose_a=False, transpose_b=True)
                for each in matmul.output(0).get_target_inputs():
                    each.replace_source_output(source.output(0))
            else:
                reader.replace_source_output(source.output(0))
    return shared, linear


def _matrices(model: openvino.Model) -> Iterator[tuple[openvino.Node, bool]]:
    """Yield the matrices of weights, and whether each is stored transposed, as input of a product."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != openvino.Type.f32:
            continue
        readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
        if len(node.get_output_shape(0)) != 2 or not readers:
            continue
        products = [
            reader.get_type_name() == "MatMul" and not reader.get_attributes()["transpose_b"]
            for reader in readers
        ]
        if all(products) or not any(products):
            yield node, all(products)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one[:1], other[:1]) and np.array_equal(one, other)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
