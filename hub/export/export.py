"""Exports a version to a folder, which is created only after all checks pass."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hub.api import HeadKind
from hub.bases.base import Base, BaseKind
from hub.errors import BadAdapter, BadRequest, BaseMismatch, NotFound, UnsupportedFormat
from hub.export.folder import PARITY_FILE
from hub.export.formats import Format, Precision
from hub.export.parity import Parity
from hub.files import new_folder
from hub.names import VersionRef
from hub.progress import Progress, silent
from hub.store.content.content import content_hash
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["Exported", "export_version"]

_GRAPHS = (BaseKind.ENCODER, BaseKind.VISION)  # bases that `onnx` supports


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export; `parity` is None if the weights were only copied."""

    version: Version
    folder: Path
    form: Format
    precision: Precision
    parity: Parity | None

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def export_version(
    store: Store,
    ref: VersionRef | str,
    folder: Path,
    form: Format,
    *,
    precision: Precision = Precision.FP32,
    progress: Progress = silent,
) -> Exported:
    """Write a version to `folder`, which must be absent or empty.

    A standalone model is compared with the adapter in PEFT before the folder is created.

    Raises:
        Conflict: `folder` exists and is not empty.
        BaseMismatch: the version's base is not on this machine.
        BadRequest, UnsupportedFormat: the format does not support this adapter.
        ExportFailed: the exported model does not give the outputs of the adapter; no files are left.
    """
    version, folder = store.get(ref), folder.absolute()
    if precision is Precision.INT8 and form is not Format.ONNX:
        raise BadRequest(f"--int8 is for --format {Format.ONNX}; {form} keeps the weights as they are.")
    if form is Format.PEFT:
        return Exported(version, store.export(version.ref, folder), form, precision, None)
    base = _base_of(version, store)
    serving = version.manifest.serving
    if form is Format.ONNX and (base.kind not in _GRAPHS or serving.head is HeadKind.GENERATE):
        raise UnsupportedFormat(
            f"{Format.ONNX} supports encoders; {base.name!r} ({base.model_type}) is of kind {base.kind}. "
            f"Use --format {Format.MERGED}, a folder for transformers alone, or {Format.PEFT}."
        )
    if content_hash(store.fetch(version), serving) != version.sha256:
        raise BadAdapter(f"The files of {version.ref} in {version.path} were altered after they were stored.")
    with new_folder(folder) as aside:
        progress("load libraries", 0, 1)
        from hub.export.merged_folder import write_merged
        from hub.export.onnx_folder import write_onnx

        progress("load libraries", 1, 1)
        if form is Format.ONNX:
            parity = write_onnx(version, base, aside, precision, progress)
        else:
            parity = write_merged(version, base, aside, progress)
        report = json.dumps(parity.to_json(), indent=2) + "\n"
        (aside / PARITY_FILE).write_text(report, encoding="utf-8")
    return Exported(version, folder, form, precision, parity)


def _base_of(version: Version, store: Store) -> Base:
    base = version.manifest.serving.base
    try:
        return store.bases.by_fingerprint(base.fingerprint)
    except NotFound as error:
        raise BaseMismatch(
            f"{version.ref} was trained on the base {base.name!r}, which is not on this machine. "
            f"Run: hub base pull {base.source}. {error}"
        ) from None
