"""Exports a version as a folder: plain PEFT files, the manifest, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hub.errors import BadAdapter, first_problem
from hub.files import new_folder
from hub.store.card.card import card
from hub.store.content.content import copy_verified
from hub.store.content.reports import CARD_FILE
from hub.store.manifest import MANIFEST_FILE, Manifest
from hub.store.records import Version
from hub.untrusted import read_json

__all__ = ["read_manifest", "write_folder"]

_MAX_MANIFEST = 16 << 20  # bytes; a manifest usually has some thousand


def write_folder(version: Version, folder: Path, report: Mapping[str, Any] | None = None) -> Path:
    """Write the version to `folder`, which must be absent or empty, as a whole or not at all.

    The card includes figures of `report`; the report itself is not exported, as it contains texts of rows.

    Raises:
        BadAdapter: the files of the version are gone or were altered.
    """
    with new_folder(folder) as aside:
        copy_verified(version, aside)
        (aside / MANIFEST_FILE).write_text(
            version.manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )
        (aside / CARD_FILE).write_text(card(version, report), encoding="utf-8")
    return folder


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in a folder.

    Raises:
        BadAdapter: it is missing or invalid.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise BadAdapter(
            f"{folder} has no {MANIFEST_FILE}. For an adapter made with plain PEFT, say what it is: "
            "hub adapters import FOLDER NAME --task TASK --base BASE."
        )
    try:
        # Validated as JSON: in Python mode pydantic's strict check refuses a list for a tuple.
        return Manifest.model_validate_json(json.dumps(read_json(path, _MAX_MANIFEST)))
    except ValidationError as error:
        key, reason = first_problem(error, "the file")
        raise BadAdapter(f"{path}: {key}: {reason}.") from None
    except (OSError, ValueError) as error:
        raise BadAdapter(f"{path} is not a manifest: {error}.") from None
