# ruff: noqa: TID253 - imported by the engines only
"""Maps the arrays of an adapter to layers of the backbone and of the head.

PEFT names a layer as the model it wrapped did. That model was a head class, which has its backbone under a
prefix ("bert."), or the bare backbone; here both are mapped to the paths of one backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from hub.api import HeadKind
from hub.engine.peft.config import WAY_OUT
from hub.engine.protocol import AdapterWeights, LayerUpdate
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.heads import HeadLayer, HeadSlots
from hub.engine.torch.stacks import Values
from hub.errors import BadAdapter, UnsupportedAdapter

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["Placed", "Placement"]

_POOLER = "pooler."
_PARAMETERS = frozenset({"weight", "bias"})


class Placed(NamedTuple):
    """The arrays of an adapter by target layer; `head` by path in the head class."""

    backbone: Values
    head: Values


class Placement:
    """Maps adapters to the layers of one base.

    The base's weights determine values that are fixed at load: DoRA's scale, the shift of a bias.
    """

    def __init__(self, backbone: TorchBackbone, heads: Mapping[HeadKind, HeadSlots]) -> None:
        model, per_row = backbone.model, backbone.per_row_layers()
        self._model = model
        self.layers = {path: module for path, module in model.named_modules() if path in per_row}
        self._types = {path: type(module).__name__ for path, module in model.named_modules()}
        self._parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self._prefix = f"{model.base_model_prefix}."
        self._heads = heads

    def place(self, weights: AdapterWeights) -> Placed:
        """Return the slot values of an adapter.

        Raises:
            BadAdapter: a layer is not on this base or has another shape; the head is not the one of its kind.
            UnsupportedAdapter: something was trained that a slot cannot hold.
        """
        head = self._heads.get(weights.kind.layered)
        backbone: dict[str, dict[str, Tensor]] = {}
        heads: dict[str, dict[str, Tensor]] = {}
        for path, update in weights.layers.items():
            if inside := self._inside(path, head):
                backbone[inside] = _values(self.layers[inside], update, path)
            elif head and path in head.layers:
                heads[path] = _head_values(head.layers[path], update, path)
            elif not _ignored(weights.kind, path):
                raise self._no_layer(path, head)
        self._place_full(weights, backbone, heads)
        if head:
            _check_head(head, weights, heads)
        return Placed(backbone, heads)

    def place_merged(self, weights: AdapterWeights) -> tuple[Placed, dict[str, Tensor]]:
        """Return the head's slot values and the backbone's changed parameters of a merged adapter."""
        head = self._heads.get(weights.kind.layered)
        heads: dict[str, dict[str, Tensor]] = {}
        changed: dict[str, Tensor] = {}
        for path, parameters in _by_layer(weights.full).items():
            if head and path in head.layers:
                heads[path] = _whole(head.layers[path], parameters)
            elif not _ignored(weights.kind, path):
                changed |= {self._named(path, name, head): value for name, value in parameters.items()}
        if head:
            _check_head(head, weights, heads)
        return Placed({}, heads), changed

    def _named(self, path: str, parameter: str, head: HeadSlots | None) -> str:
        for name in self._readings(path, head):
            if f"{name}.{parameter}" in self._parameters:
                return f"{name}.{parameter}"
        raise BadAdapter(f"The base has no parameter {path}.{parameter}: the adapter is of another base.")

    def _place_full(
        self,
        weights: AdapterWeights,
        backbone: dict[str, dict[str, Tensor]],
        heads: dict[str, dict[str, Tensor]],
    ) -> None:
        head = self._heads.get(weights.kind.layered)
        for path, parameters in _by_layer(weights.full).items():
            if head and path in head.layers:
                layer = head.layers[path]
                _check_names(parameters, path)
                alone = layer.own and parameters.keys() == {"bias"}
                _add(heads, path, _bias_shift(layer.module, parameters, path) if alone else parameters)
            elif inside := self._inside(path, head):
                # Beside LoRA on an output layer PEFT saves the base's own weight once more.
                if _is_own(self.layers[inside], parameters.get("weight")):
                    del parameters["weight"]
                if not parameters.keys() <= {"bias"}:
                    raise UnsupportedAdapter(
                        f"{path!r} was trained in full, which in the backbone is possible for biases only. "
                        f"Train it with LoRA, {WAY_OUT}"
                    )
                if parameters:
                    _add(backbone, inside, _bias_shift(self.layers[inside], parameters, path))
            elif not _ignored(weights.kind, path) and not self._are_own(path, parameters, head):
                raise UnsupportedAdapter(
                    f"{path!r} was trained in full, and it belongs neither to a {weights.kind} head nor to a "
                    f"layer that a slot can change. Train it with LoRA, {WAY_OUT}"
                )

    def _are_own(self, path: str, parameters: Mapping[str, Tensor], head: HeadSlots | None) -> bool:
        """Return whether parameters equal the base's: PEFT also saves biases that it did not train."""
        name = next((name for name in self._readings(path, head) if name in self._types), None)
        if name is None:
            return False
        own = dict(self._model.get_submodule(name).named_parameters(recurse=False))
        return all(
            part in own and torch.equal(value.to(own[part]), own[part]) for part, value in parameters.items()
        )

    def _no_layer(self, path: str, head: HeadSlots | None) -> BadAdapter:
        """Return the error for an update of a layer that no slot can change."""
        found = next((self._types[name] for name in self._readings(path, head) if name in self._types), "")
        if found in ("", "Linear"):
            return BadAdapter(
                f"The base has no linear layer {path!r} that a slot can change: the adapter was trained "
                "on another kind of base, or changes a layer whose input all rows share."
            )
        return UnsupportedAdapter(
            f"Layer {path!r} of the base is of type {found}, and slots change only linear layers of the "
            f"backbone. Train it on other layers, {WAY_OUT}"
        )

    def _inside(self, path: str, head: HeadSlots | None) -> str | None:
        """Return the backbone path for an adapter's path."""
        return next((name for name in self._readings(path, head) if name in self.layers), None)

    def _readings(self, path: str, head: HeadSlots | None) -> tuple[str, ...]:
        """Return candidate paths: as it is, with and without the backbone's prefix."""
        bare = path.removeprefix(f"{head.prefix}." if head else self._prefix)
        return path, bare, self._prefix + bare


def _ignored(kind: HeadKind, path: str) -> bool:
    """Return whether the path is that of a pooler, which this kind of head does not use."""
    return kind.layered in (HeadKind.EMBEDDING, HeadKind.TOKEN, HeadKind.SPAN) and _POOLER in f"{path}."


def _values(layer: nn.Module, update: LayerUpdate, path: str) -> dict[str, Tensor]:
    """Convert the update of a layer with its own weights to the parts of a slot."""
    if isinstance(layer, nn.Linear):
        _check_shape(layer.in_features, layer.out_features, update, path)
    else:
        raise BadAdapter(
            f"Layer {path!r} of the base is not linear: the adapter was trained on another base."
        )
    values: dict[str, Tensor] = {}
    if update.input_scale is not None:
        values["input_scale"] = _tensor(update.input_scale)
    if update.output_scale is not None:
        values["output_scale"] = _tensor(update.output_scale)
    if update.a is not None and update.b is not None:
        a, b = _tensor(update.a), _tensor(update.b)
        if update.magnitude is not None:
            scale = _dora_scale(layer, a, b, _tensor(update.magnitude))
            b = b * scale.unsqueeze(1)
            values["output_scale"] = scale
            if (own := _own_bias(layer)) is not None:  # which DoRA does not scale
                values["shift"] = (1 - scale) * own
        values |= {"a": a.T, "b": b.T}
    return values


def _by_layer(full: Mapping[str, Array]) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    for name, array in full.items():
        path, _, parameter = name.rpartition(".")
        layers.setdefault(path, {})[parameter] = _tensor(array)
    return layers


def _whole(layer: HeadLayer, changed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all parameters of a head's layer: the changed ones, and the base's for the others."""
    own = {name: value.detach().float().cpu() for name, value in layer.module.named_parameters(recurse=False)}
    return {**own, **changed}


def _add(layers: dict[str, dict[str, Tensor]], path: str, parts: Mapping[str, Tensor]) -> None:
    """Merge parts into those of a layer; two shifts are added."""
    known = layers.setdefault(path, {})
    for part, value in parts.items():
        known[part] = known[part] + value if part in known else value


def _bias_shift(layer: nn.Module, parameters: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    own, bias = _own_bias(layer), parameters["bias"]
    if own is None or own.shape != bias.shape:
        raise BadAdapter(f"Layer {path!r} of the base has no bias of shape {tuple(bias.shape)}.")
    return {"shift": bias - own}


def _is_own(layer: nn.Module, weight: Tensor | None) -> bool:
    own = layer.weight
    assert isinstance(own, Tensor)
    return weight is not None and torch.equal(weight.to(own), own)


def _own_bias(layer: nn.Module) -> Tensor | None:
    return layer.bias.detach().float().cpu() if isinstance(layer.bias, Tensor) else None


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _dora_scale(layer: nn.Module, a: Tensor, b: Tensor, magnitude: Tensor) -> Tensor:
    """Return magnitude / |row of W + b a|, [out] (arXiv:2402.09353, equation 5)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    norms: Tensor = torch.linalg.vector_norm(weight.float().cpu() + b @ a, dim=1)
    return magnitude / norms


def _check_names(parameters: Mapping[str, Tensor], path: str) -> None:
    """Refuse what is no parameter of a layer; `Parts` has fields of other names."""
    if odd := sorted(parameters.keys() - _PARAMETERS):
        raise BadAdapter(f"The layer {path!r} of the head has no parameter {odd[0][:80]!r}.")


def _head_values(layer: HeadLayer, update: LayerUpdate, path: str) -> dict[str, Tensor]:
    if not layer.own:
        raise UnsupportedAdapter(
            f"{path!r} is a new layer of the head, whose first weights were random and are not in the file. "
            "Train it in full: name it in modules_to_save."
        )
    return _values(layer.module, update, path)


def _check_shape(inputs: int, outputs: int, update: LayerUpdate, path: str) -> None:
    into = update.input_scale if update.a is None else update.a.T
    out = update.output_scale if update.b is None else update.b
    got = (
        inputs if into is None else into.shape[0],
        outputs if out is None else out.shape[0],
    )
    if got != (inputs, outputs):
        raise BadAdapter(
            f"Layer {path!r} of the base maps {inputs} to {outputs} values, but the adapter's update maps "
            f"{got[0]} to {got[1]}."
        )


def _check_head(head: HeadSlots, weights: AdapterWeights, values: Values) -> None:
    """Raise BadAdapter unless each layer has its parameters: from the adapter, or from the base.

    Raise UnsupportedAdapter for a head of means that has several layers.
    """
    if weights.kind is HeadKind.SEQUENCE_MEAN and not head.takes_means:
        raise UnsupportedAdapter(
            "The token head of this base is more than one linear layer, so it cannot score the mean over the "
            "tokens."
        )
    expected: dict[str, tuple[int, ...]] = {}
    given: dict[str, tuple[int, ...]] = {}
    for path, layer in head.layers.items():
        shapes = layer.shapes(weights.num_labels)
        parts = values.get(path, {})
        found = {part: tuple(parts[part].shape) for part in ("weight", "bias") if part in parts}
        if found or not layer.own:
            expected |= {f"{path}.{name}": shape for name, shape in shapes.items()}
            given |= {f"{path}.{name}": shape for name, shape in found.items()}
    if given != expected:
        raise BadAdapter(
            f"A {weights.kind} head here has {_listed(expected)}; the adapter's has {_listed(given)}."
        )


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "no head"
