"""What plugins provide besides tasks: who has which name, and the instances that are in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

from hub.api import Extension
from hub.errors import BadPlugin, NotFound, PluginConflict
from hub.registry.discovery import CORE, PluginState, PluginStatus
from hub.registry.kinds import ExtensionT, Kind, SpecT
from hub.registry.plugin import LoadedPlugin

__all__ = ["Extensions"]


@dataclass(frozen=True, slots=True)
class _Claim:
    plugin: LoadedPlugin
    kind: Kind[Any, Any]
    spec: Any

    @property
    def label(self) -> str:
        return f"{self.kind.word} {self.spec.name}"

    @property
    def status(self) -> PluginStatus:
        return self.plugin.status


class Extensions:
    """The extensions of all plugins by kind and key: a name, or what else a spec claims.

    Of several plugins with one key, the first in `prefer` has it, else the hub's own, else none. Thread-safe.
    """

    def __init__(self, plugins: Iterable[LoadedPlugin], prefer: Sequence[str] = ()) -> None:
        self._prefer = tuple(prefer)
        self._claims: dict[tuple[str, str], list[_Claim]] = {}
        self._all = [_Claim(plugin, kind, spec) for plugin in plugins for kind, spec in plugin.extensions]
        for claim in self._all:
            for key in claim.kind.keys(claim.spec):
                self._claims.setdefault((claim.kind.hook, key), []).append(claim)
        self._lock = RLock()
        self._built: dict[tuple[str, str, str], Any] = {}
        self._failures: dict[tuple[str, str, str], str] = {}

    def keys(self, kind: Kind[SpecT, ExtensionT]) -> dict[str, SpecT]:
        """Return the specs of a kind by every key that can be used; imports nothing."""
        winners = {key: self._winner(hook, key) for hook, key in self._claims if hook == kind.hook}
        return {key: claim.spec for key, claim in winners.items() if claim and not self._failed(claim)}

    def specs(self, kind: Kind[SpecT, ExtensionT]) -> dict[str, SpecT]:
        """Return the specs of a kind by name; imports nothing."""
        return {name: spec for name, spec in self.keys(kind).items() if spec.name == name}

    def get(self, kind: Kind[SpecT, ExtensionT], key: str) -> ExtensionT:
        """Return what has a key, built once; imports its class the first time.

        Raises:
            NotFound: no working plugin provides it.
            PluginConflict: several plugins do.
            BadPlugin: its class cannot be imported or built; from then on its plugin is listed as broken.
        """
        claims = self._claims.get((kind.hook, key), [])
        if not claims:
            raise NotFound.of(kind.word, key, self.specs(kind), "To add one, run: hub plugins install.")
        claim = self._winner(kind.hook, key)
        if claim is None:
            raise PluginConflict(self._conflict(claims, key))
        built: ExtensionT = self._build(claim)
        return built

    def claimed(self, kind: Kind[SpecT, ExtensionT], key: str) -> bool:
        """Return whether any plugin provides this, usable or not; imports nothing."""
        return (kind.hook, key) in self._claims

    def all(self, kind: Kind[SpecT, ExtensionT]) -> Iterator[tuple[SpecT, ExtensionT]]:
        """Yield every usable extension of a kind in the order of plugins; skip those that fail to build."""
        for claim in self._all:
            if claim.kind is not kind or self._winner(kind.hook, claim.spec.name) is not claim:
                continue
            try:
                yield claim.spec, self._build(claim)
            except BadPlugin:
                continue  # kept in _failures, which `problems` reads

    def built(self) -> list[tuple[str, Extension[Any]]]:
        """Return every extension that was built, with "reader mbox" and so on."""
        with self._lock:
            return [(f"{kind} {name}", one) for (_, kind, name), one in self._built.items()]

    def labels(self) -> list[str]:
        """Return "reader mbox" and so on for every extension that is not the hub's own; `load` takes them."""
        return [claim.label for claim in self._all if claim.status.distribution != CORE]

    def load(self, label: str) -> None:
        """Import and build what has this label, so that `problems` reports whether it is usable."""
        for claim in self._all:
            if claim.label == label:
                try:
                    self._build(claim)
                except BadPlugin:
                    continue

    def problems(self, status: PluginStatus) -> tuple[PluginState, str] | None:
        """Return "broken" or "conflict" with the reasons, for a plugin that has any."""
        mine = [claim for claim in self._all if claim.status is status]
        if failed := [self._failures[_id(claim)] for claim in mine if self._failed(claim)]:
            return "broken", " ".join(failed)
        lost = [
            self._conflict(claims, key)
            for claim in mine
            for key in claim.kind.keys(claim.spec)
            if len(claims := self._claims[claim.kind.hook, key]) > 1
            and self._winner(claim.kind.hook, key) is not claim
            and status.distribution != CORE
        ]
        return ("conflict", " ".join(lost)) if lost else None

    def _winner(self, hook: str, key: str) -> _Claim | None:
        claims = self._claims[hook, key]
        if len(claims) == 1:
            return claims[0]
        for name in self._prefer:
            if chosen := [claim for claim in claims if _is_named(claim.status, name)]:
                return chosen[0]
        return next((claim for claim in claims if claim.status.distribution == CORE), None)

    def _build(self, claim: _Claim) -> Any:
        id = _id(claim)
        if (built := self._built.get(id)) is not None:
            return built
        with self._lock:
            if id in self._failures:
                raise BadPlugin(self._failures[id])
            if id not in self._built:
                try:
                    self._built[id] = claim.kind.build(claim.spec, claim.plugin.settings)
                except BadPlugin as error:
                    self._failures[id] = str(error)
                    raise
            return self._built[id]

    def _failed(self, claim: _Claim) -> bool:
        return _id(claim) in self._failures

    def _conflict(self, claims: Sequence[_Claim], key: str) -> str:
        word = claims[0].kind.word
        others = [claim.status for claim in claims if claim.status.distribution != CORE]
        names = " and ".join(f"{status.name!r} ({status.distribution})" for status in others)
        if len(others) < len(claims):
            return (
                f"{word.capitalize()} {key!r} is built in, and also provided by {names}. The built-in one is "
                f"used; to use the other, add {others[0].name!r} to plugins.prefer."
            )
        commands = " or ".join(f"hub plugins disable {status.id}" for status in others)
        return (
            f"{word.capitalize()} {key!r} is provided by the plugins {names}. To keep one, run: {commands}; "
            "or add its name to plugins.prefer."
        )


def _id(claim: _Claim) -> tuple[str, str, str]:
    return claim.status.id, claim.kind.hook, claim.spec.name


def _is_named(status: PluginStatus, name: str) -> bool:
    return name in (status.name, status.id, status.distribution)
