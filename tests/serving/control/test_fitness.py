"""Versions made with another release of their plugin are served only if they still fit it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from grafthub_sentiment.models import SentimentOptions
from grafthub_sentiment.task import SentimentTask

from hub.api import Field, FieldKind
from hub.client.catalog import CatalogClient
from hub.config import load_settings
from hub.contract import PluginRef
from hub.errors import BadAdapter
from hub.registry.host import Registry
from hub.store.change import Deploy

URGENCY = (Field("text", FieldKind.TEXT, "A text."), Field("urgency", FieldKind.NUMBER, "From 0 to 10."))


class MoreOptions(SentimentOptions):
    stars: int = 5


def made_with(**changes: Any) -> PluginRef:
    """Return the installed plugin of `sentiment`, as release 0.9 with these changes."""
    return Registry.load().plugin_of("sentiment").model_copy(update={"version": "0.9", **changes})


def change_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentimentTask, "fields", URGENCY)


def change_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentimentTask, "adapter_format", 2)


def change_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentimentTask, "options", MoreOptions)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(change_fields, "the fields of training data"), (change_format, "the format of adapters (1 and 2)")],
)
def test_a_version_of_another_contract_is_refused_and_both_releases_are_named(
    home, start, monkeypatch, change: Callable[[pytest.MonkeyPatch], None], reason: str
) -> None:
    home.add(seed=1, plugin=made_with())
    change(monkeypatch)
    home.add("now", seed=2, plugin=Registry.load().plugin_of("sentiment"))
    hub = start()
    hub.runtime.deploy("mood", Deploy(version="now@1", by="t"))
    with pytest.raises(BadAdapter) as caught:
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert "was made with grafthub-sentiment 0.9, and grafthub-sentiment " in str(caught.value)
    assert reason in str(caught.value)
    assert hub.live() == {"mood": "now@1"}
    with (
        CatalogClient(load_settings()) as catalog,
        pytest.raises(BadAdapter, match=r"grafthub-sentiment 0\.9"),
    ):
        catalog.deploy("mood", Deploy(version="mood@1"))


def test_another_release_with_the_same_contract_is_fine(home, start) -> None:
    home.add(seed=1, plugin=made_with())
    assert start().runtime.deploy("mood", Deploy(version="mood@1", by="t")).warning == ""


def test_other_options_alone_are_a_warning(home, start, monkeypatch) -> None:
    home.add(seed=1, plugin=made_with())
    change_options(monkeypatch)
    warning = start().runtime.deploy("mood", Deploy(version="mood@1", by="t")).warning
    assert "mood@1 was made with grafthub-sentiment 0.9" in warning


def test_a_manifest_that_names_no_plugin_is_tried_only(home, start, monkeypatch) -> None:
    assert "plugin" not in home.add(seed=1).manifest.model_dump()
    change_options(monkeypatch)
    assert start().runtime.deploy("mood", Deploy(version="mood@1", by="t")).warning == ""


def test_after_an_upgrade_a_restart_says_which_deployments_no_longer_fit(home, start, monkeypatch) -> None:
    for seed in (1, 2, 3):
        home.store.deploy(f"mood-{seed}", Deploy(version=home.add(seed=seed, plugin=made_with()).ref, by="t"))
    change_fields(monkeypatch)
    hub = start(slots=1)  # more than one version is loaded only when asked for
    assert hub.live() == {}
    broken = hub.runtime.router.routes.broken
    assert sorted(broken) == ["mood-1", "mood-2", "mood-3"]
    assert all("grafthub-sentiment 0.9" in reason for reason in broken.values())


def test_a_contract_is_about_what_adapters_depend_on_and_not_about_texts(monkeypatch) -> None:
    before = made_with().fingerprint

    class Retold(SentimentTask):
        fields: ClassVar = tuple(
            Field(field.name, field.kind, "Another summary.") for field in SentimentTask.fields
        )

    monkeypatch.setattr(SentimentTask, "fields", Retold.fields)
    monkeypatch.setattr(SentimentTask, "max_length", 256)
    assert made_with().fingerprint == before
    optional = Field("note", FieldKind.TEXT, "A note.", required=False)
    monkeypatch.setattr(SentimentTask, "fields", (*Retold.fields, optional))
    assert made_with().fingerprint == before
    monkeypatch.setattr(SentimentTask, "head_labels", lambda self, adapter: adapter.labels[::-1])
    assert made_with().fingerprint != before
