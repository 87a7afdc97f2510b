"""Reads kind, model type and token limit of a model folder from its config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.api import ImageInput, Pooling
from hub.bases.base import Base, BaseKind
from hub.bases.fingerprint import is_model_file, read_json
from hub.bases.images import VISION, image_input
from hub.bases.pooling import read_pooling
from hub.bases.weights_file import read_header
from hub.errors import BadBase, HubError, UnsafeWeights

__all__ = [
    "Facts",
    "check_model_folder",
    "inspect_folder",
    "layer_shapes",
    "module_name",
    "module_names",
    "refuse_pickles",
    "weight_shapes",
]

# fmt: off
_DECODERS = frozenset({
    "bloom", "codegen", "cohere", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neo",
    "gpt_neox", "gptj", "granite", "llama", "mistral", "mixtral", "mpt", "olmo", "olmo2", "openai-gpt",
    "opt", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "smollm3", "stablelm", "starcoder2"
})
_ENCODER_DECODERS = frozenset({
    "bart", "blenderbot", "led", "longt5", "m2m_100", "marian", "mbart", "mt5", "pegasus", "prophetnet",
    "t5", "umt5"
})
# The position embeddings of these types begin after the padding index.
_OFFSET_POSITIONS = frozenset({
    "camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm",
    "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"
})
# fmt: on
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx")
_OUTPUT_LAYERS = ("lm_head.weight", "embed_out.weight")
_EMBEDDINGS = (
    "shared.weight",
    "embed_tokens.weight",
    "word_embeddings.weight",
    "wte.weight",
    "embed_in.weight",
    "tokens_embed.weight",
)
# In this order, as in transformers' conversion of ViT checkpoints.
_ATTENTION = (
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
)
_RENAMED = (
    ("encoder.layer.", "layers."),
    *_ATTENTION,
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
)
_RENAMED_DINOV2 = (*_ATTENTION, ("mlp.weights_out", "mlp.down_proj"))
_FUSED, _HALVES = "mlp.weights_in", ("mlp.gate_proj", "mlp.up_proj")
_NO_LIMIT = 10_000_000  # tokenizers state a huge number for "no limit"
_DEFAULT_LENGTH = 512
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack")


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts from a model's files; `max_length` is in tokens, of a base that reads images those of one."""

    kind: BaseKind
    model_type: str
    max_length: int
    image: ImageInput | None = None
    pooling: Pooling | None = None


def inspect_folder(folder: Path) -> Facts:
    """Return kind, model type, token limit and pooling of a model folder.

    Raises:
        BadBase: a file is unreadable, config.json is missing or names no model type, or a base that reads
            images has no usable preprocessor_config.json.
    """
    config = read_json(folder / "config.json")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise BadBase(f"{folder / 'config.json'} names no model_type: it is not a transformers model.")
    if model_type in VISION:
        image = image_input(folder, config, model_type)
        return Facts(BaseKind.VISION, model_type, image.tokens, image)
    tokenizer_config = folder / "tokenizer_config.json"
    tokenizer = read_json(tokenizer_config) if tokenizer_config.is_file() else {}
    max_length = _max_length(config, model_type, tokenizer)
    return Facts(_kind(config, model_type), model_type, max_length, pooling=read_pooling(folder))


def check_model_folder(folder: Path) -> None:
    """Check that `folder` holds a config, complete safetensors weights, and a fast tokenizer.

    Instead of the tokenizer, a base that reads images has the settings of its image processor.

    Raises:
        BadBase: a file is missing or malformed.
        UnsafeWeights: the weights are a pickle, or another format named as safetensors.
    """
    names = {path.name for path in folder.iterdir()}
    refuse_pickles(names, str(folder))
    if "config.json" not in names:
        raise BadBase(f"{folder} has no config.json: a base is a transformers model.")
    model_type = read_json(folder / "config.json").get("model_type")
    if model_type not in VISION and "tokenizer.json" not in names:
        raise BadBase(
            f"{folder} has no tokenizer.json: a base is a transformers model with a fast tokenizer, or one "
            f"that reads images ({', '.join(VISION)})."
        )
    shapes = weight_shapes(folder)
    if model_type in VISION:
        module_names(shapes, str(model_type), BadBase)


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a base, read from the headers.

    Raises:
        BadBase, UnsafeWeights: as `check_model_folder`.
    """
    headers = [read_header(path, BadBase) for path in _weight_files(folder)]
    return {name: tuple(entry["shape"]) for header in headers for name, entry in header.items()}


def layer_shapes(base: Base) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a base, including an output layer tied to the input embedding.

    Checkpoints store a tied weight once, under the embedding's name. The names are those of the modules that
    transformers makes of them.

    Raises: as `weight_shapes`.
    """
    shapes = weight_shapes(base.path)
    if base.kind is BaseKind.VISION:
        return _vision_shapes(shapes, base.model_type)
    if base.kind is BaseKind.ENCODER or any(name.endswith(_OUTPUT_LAYERS) for name in shapes):
        return shapes
    embedding = next((shape for name, shape in shapes.items() if name.endswith(_EMBEDDINGS)), None)
    return shapes if embedding is None else {**shapes, **dict.fromkeys(_OUTPUT_LAYERS, embedding)}


def _vision_shapes(shapes: dict[str, tuple[int, ...]], model_type: str) -> dict[str, tuple[int, ...]]:
    """Name the weights of a ViT as modules; one matrix of a DINOv2 with gates becomes two layers."""
    found: dict[str, tuple[int, ...]] = {}
    for name, module in module_names(shapes, model_type, BadBase).items():
        shape = shapes[name]
        if _FUSED in name:
            found |= {name.replace(_FUSED, half): (shape[0] // 2, *shape[1:]) for half in _HALVES}
        else:
            found[module] = shape
    return found


def module_names(names: Iterable[str], model_type: str, twice: type[HubError]) -> dict[str, str]:
    """Return what `module_name` makes of each name.

    Raises:
        twice: one tensor has both its older and its current name, so which is meant cannot be told.
    """
    found: dict[str, str] = {}
    of: dict[str, str] = {}
    for name in names:
        current = found[name] = module_name(name, model_type)
        if (other := of.setdefault(current, name)) != name:
            raise twice(
                f"{other!r} and {name!r} are names of the same tensor, by transformers 4 and by 5. Save the "
                "weights again with one of them."
            )
    return found


def module_name(name: str, model_type: str) -> str:
    """Return the name in transformers 5.23 of a module or weight of a ViT; files have it by the older one."""
    for old, new in _RENAMED_DINOV2 if model_type == "dinov2" else _RENAMED:
        name = name.replace(old, new)
    return name


def refuse_pickles(names: set[str], where: str) -> None:
    """Raise UnsafeWeights if the only weights among `names` are pickles or other unsafe formats."""
    safe = any(name.endswith(".safetensors") for name in names)
    unsafe = sorted(name for name in names if name.endswith(_PICKLES))
    if unsafe and not safe:
        raise UnsafeWeights(
            f"{where} has its weights only as {', '.join(unsafe[:3])}; only safetensors are read, because "
            "other formats can run code. Choose a revision with model.safetensors, or convert the model on a "
            "machine where you trust it: AutoModel.from_pretrained(...).save_pretrained(...)."
        )


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise BadBase(f"{folder} has no model.safetensors.")
    shards = read_json(index).get("weight_map")
    names = sorted({str(name) for name in shards.values()} if isinstance(shards, dict) else ())
    if outside := [name for name in names if not is_model_file(name)]:  # transformers would read it anywhere
        raise BadBase(
            f"{index} names {outside[0][:200]!r}, which is not a file of weights beside it, such as "
            "model-00001-of-00002.safetensors."
        )
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise BadBase(f"{folder} lacks the weight files {', '.join(missing)} that {index.name} names.")
    if not names:
        raise BadBase(f"{index} names no weight file.")
    return [folder / name for name in names]


def _kind(config: dict[str, Any], model_type: str) -> BaseKind:
    stated = config.get("architectures")
    architectures = [str(name) for name in stated] if isinstance(stated, list) else []
    causal = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    # The decoder of an encoder-decoder (BartForCausalLM) has is_encoder_decoder false.
    half = causal and config.get("is_encoder_decoder") is False
    if config.get("is_encoder_decoder") or (model_type in _ENCODER_DECODERS and not half):
        return BaseKind.ENCODER_DECODER
    if causal or config.get("is_decoder") or model_type in _DECODERS:
        return BaseKind.DECODER
    return BaseKind.ENCODER


def _max_length(config: dict[str, Any], model_type: str, tokenizer: dict[str, Any]) -> int:
    stated = [config[key] for key in _LENGTH_KEYS if _is_number(config.get(key))][:1]
    if model_type in _OFFSET_POSITIONS:
        pad = config.get("pad_token_id")
        stated = [length - (pad if _is_number(pad) else 1) - 1 for length in stated]
    limit = tokenizer.get("model_max_length")
    if isinstance(limit, int | float) and not isinstance(limit, bool) and 0 < limit < _NO_LIMIT:
        stated.append(int(limit))
    return min((length for length in stated if length > 0), default=_DEFAULT_LENGTH)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
