"""Whether versions fit the installed plugin of their task: compared by what their manifests record."""

from __future__ import annotations

import logging

from hub.contract import PluginRef
from hub.errors import BadAdapter, BadPlugin, HubError
from hub.registry.host import Registry
from hub.serving.plugins.rehearsal import rehearse_alone
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["check_fitness", "misfit", "unanswerable"]

log = logging.getLogger(__name__)


def check_fitness(version: Version, registry: Registry) -> str:
    """Return a warning if a version was made with another contract of its plugin; "" if nothing is known.

    Raises:
        BadAdapter: it cannot be served by the installed plugin: the head, the required fields or the
            adapter format differ.
        NotFound, PluginConflict, BadPlugin: no working plugin provides its task.
    """
    serving, made_with = version.manifest.serving, version.manifest.plugin
    spec = registry.task(serving.task).spec
    if spec.head is not serving.head.declared:
        by = f" It was made with {made_with.name}." if made_with else ""
        raise BadAdapter(
            f"{version.ref} has a {serving.head} head, and the task {spec.name!r} now needs {spec.head}, by "
            f"{registry.plugin_of(spec.name).name}.{by}"
        )
    if made_with is None:
        return ""
    now = registry.plugin_of(serving.task)
    if made_with.fingerprint == now.fingerprint:
        return ""
    between = f"{version.ref} was made with {made_with.name}, and {now.name} is installed"
    if difference := _difference(made_with, now):
        raise BadAdapter(
            f"{between}, which differs in {difference}. Install the other version of the plugin, or train "
            "the adapter again."
        )
    return (
        f"{between}, whose options, answers or labels differ. It answers the task's example; check that its "
        "answers still mean the same, or train it again."
    )


def misfit(version: Version, registry: Registry) -> str:
    """Return why a version does not, or may not, fit the installed plugin; "" if nothing is known against it.

    A task that no working plugin provides is no misfit.
    """
    try:
        registry.task(version.manifest.serving.task)
    except HubError:
        return ""
    try:
        return check_fitness(version, registry)
    except BadAdapter as error:
        return str(error)


def unanswerable(version: Version, registry: Registry, store: Store) -> str:
    """Return why a version could not answer its task's example, as far as can be told without its weights."""
    serving = version.manifest.serving
    try:
        base, loaded = store.bases.by_fingerprint(serving.base.fingerprint), registry.task(serving.task)
    except HubError:
        return ""
    try:
        rehearse_alone(str(version.ref), version.info, loaded, base)
    except (BadAdapter, BadPlugin) as error:
        return str(error)
    except OSError as error:  # the base's tokenizer; damage to a base is another finding
        log.debug("%s was not tried: %s", version.ref, error)
    return ""


def _difference(made_with: PluginRef, now: PluginRef) -> str:
    if made_with.adapter_format != now.adapter_format:
        return f"the format of adapters ({made_with.adapter_format} and {now.adapter_format})"
    if made_with.fields != now.fields:
        return f"the fields of training data ({_fields(made_with)} and {_fields(now)})"
    return ""


def _fields(plugin: PluginRef) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in plugin.fields.items())
