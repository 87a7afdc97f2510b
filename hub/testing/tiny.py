# ruff: noqa: TID253 - builds models, so it needs torch; product code never imports it
"""Tiny random bases and adapters for tests: real configs, real fast tokenizers, no network.

The encoder has a word-piece tokenizer and the decoder a byte tokenizer with a chat template; both
cover any text. Weights are drawn from a fixed seed, with a larger spread than a fresh model has, so
that adapters and rows differ visibly.
"""

from __future__ import annotations

import string
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from hub.api import HeadKind
from hub.bases.base import Base, BaseKind
from hub.bases.fingerprint import fingerprint

__all__ = ["head_model", "peft_model", "tiny_adapter", "tiny_decoder", "tiny_encoder"]

_WORDS = """
    the a an is was of to and in it that this good bad great poor fine awful movie film book phone food
    news price story actor plot service love hate like not very paris london france who what where when
    won lost team game market rain sun river city
"""
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_HEADS: Mapping[HeadKind, tuple[type, TaskType]] = {
    HeadKind.SEQUENCE: (AutoModelForSequenceClassification, TaskType.SEQ_CLS),
    HeadKind.TOKEN: (AutoModelForTokenClassification, TaskType.TOKEN_CLS),
    HeadKind.SPAN: (AutoModelForQuestionAnswering, TaskType.QUESTION_ANS),
    HeadKind.EMBEDDING: (AutoModel, TaskType.FEATURE_EXTRACTION),
    HeadKind.GENERATE: (AutoModelForCausalLM, TaskType.CAUSAL_LM),
}
# PEFT trains these heads in full, and refuses that "all-linear" takes them in as well.
_HEAD_LINEAR = {HeadKind.TOKEN: "classifier", HeadKind.SPAN: "qa_outputs"}


def tiny_encoder(folder: Path, model_type: str = "bert") -> Base:
    """Save a two-layer random encoder and its tokenizer in `folder` and describe it.

    Raises:
        ValueError: `model_type` is not "bert".
    """
    if model_type != "bert":
        raise ValueError(f"No tiny encoder of type {model_type!r}; there is: bert.")
    tokenizer = _word_pieces()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    return _save(folder, AutoModel, config, tokenizer, BaseKind.ENCODER)


def tiny_decoder(folder: Path) -> Base:
    """Save a two-layer random Llama, whose tokens are bytes, in `folder` and describe it."""
    tokenizer = _bytes()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return _save(folder, AutoModelForCausalLM, config, tokenizer, BaseKind.DECODER)


def tiny_adapter(
    base: Base,
    folder: Path,
    *,
    kind: HeadKind,
    labels: Sequence[str],
    rank: int = 4,
    targets: str | Sequence[str] = "all-linear",
    seed: int = 0,
    spread: float = 0.1,
    **lora: object,
) -> Path:
    """Save in `folder` what plain PEFT saves, with random A, B and head.

    `spread` is the standard deviation of A and B; `lora` goes to LoraConfig.
    """
    settings: dict[str, object] = {
        "task_type": _HEADS[kind][1],
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": targets if isinstance(targets, str) else list(targets),
    }
    if targets == "all-linear" and kind in _HEAD_LINEAR:
        settings["exclude_modules"] = [_HEAD_LINEAR[kind]]
    model = head_model(base, kind, num_labels=len(labels))
    with torch.random.fork_rng(), _known_warnings():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, LoraConfig(**(settings | lora)))
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=spread if "lora_" in name else 0.3)
    adapted.save_pretrained(folder)
    return folder


def peft_model(base: Base, folder: Path, kind: HeadKind, num_labels: int = 0) -> PeftModel:
    """Load the base with one adapter as plain PEFT does: what every engine is compared with."""
    with _known_warnings():
        return PeftModel.from_pretrained(head_model(base, kind, num_labels), folder).eval()


def head_model(base: Base, kind: HeadKind, num_labels: int = 0) -> PreTrainedModel:
    """Load the base in fp32 under the Hugging Face head of `kind`; a new head has fixed weights."""
    extra = {"num_labels": num_labels} if num_labels and kind is not HeadKind.SPAN else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _HEADS[kind][0].from_pretrained(base.path, dtype=torch.float32, **extra)  # type: ignore[attr-defined]
    return model.eval()


@contextmanager
def _known_warnings() -> Iterator[None]:
    """PEFT 0.21 reads an attribute that transformers 5.23 deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield


def _save(
    folder: Path,
    cls: type,
    config: BertConfig | LlamaConfig,
    tokenizer: PreTrainedTokenizerFast,
    kind: BaseKind,
) -> Base:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = cls.from_config(config)  # type: ignore[attr-defined]
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Base(
        name=folder.name,
        source=str(folder),
        fingerprint=fingerprint(folder),
        kind=kind,
        model_type=config.model_type,
        max_length=config.max_position_embeddings,
        path=folder,
    )


def _word_pieces() -> PreTrainedTokenizerFast:
    characters = string.ascii_lowercase + string.digits
    pieces = [*_SPECIAL, *string.punctuation, *characters, *(f"##{c}" for c in characters), *_WORDS.split()]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _bytes() -> PreTrainedTokenizerFast:
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: index for index, piece in enumerate((*special, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        model_max_length=256,
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.chat_template = _CHATML
    return fast
