"""Deployments: the versions behind each name; every change is an event with its own generation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.errors import Conflict, NotFound
from hub.names import VersionRef, check_name, parse_version_ref
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.tables import DeploymentEventRow, DeploymentRow, GenerationRow, VersionRow
from hub.store.change import Deploy, DeploymentChange
from hub.store.content.content import Contents
from hub.store.manifest import Manifest
from hub.store.records import Canary, Deployment, DeploymentEvent, Version

__all__ = ["Deployments"]


class Deployments:
    """The half of the store that reads versions and changes deployments.

    Every change of a deployment increments `generation`.

    With `seen`, a change raises Conflict if the deployment has changed since that generation.
    """

    def __init__(self, catalog: Catalog, contents: Contents) -> None:
        self.catalog = catalog
        self.contents = contents

    def versions(self, name: str | None = None) -> list[Version]:
        """Return the versions of one adapter or of all, by name and number."""
        query = select(VersionRow).order_by(VersionRow.name, VersionRow.number)
        if name is not None:
            query = query.where(VersionRow.name == name)
        with self.catalog.read() as session:
            return [self._version_of(row) for row in session.scalars(query)]

    def generation(self) -> int:
        """Return the number of events; one small read, cheap to poll."""
        with self.catalog.read() as session:
            return session.scalars(select(GenerationRow.value)).one()

    def deployments(self) -> list[Deployment]:
        """Return every deployment by name, from one transaction."""
        with self.catalog.read() as session:
            return [self._deployment_of(row) for row in session.scalars(_ALL)]

    def current(self, known: Mapping[str, Deployment]) -> tuple[int, dict[str, Deployment]]:
        """Return the number of events and every deployment by name, from one transaction.

        Those that have not changed since they were read into `known` are not read again.
        """
        with self.catalog.read() as session:
            generation = session.scalars(select(GenerationRow.value)).one()
            states = {name: (number, updated) for name, number, updated in session.execute(_STATES)}
            found = {name: known[name] for name, state in states.items() if _is_same(known.get(name), *state)}
            changed = states.keys() - found.keys()
            if changed:
                query = _ALL.where(DeploymentRow.name.in_(changed)) if len(changed) <= _NAMES else _ALL
                found |= {row.name: self._deployment_of(row) for row in session.scalars(query)}
        return generation, {name: found[name] for name in states}

    def deployment(self, name: str) -> Deployment:
        """Return one deployment.

        Raises:
            NotFound: lists the existing deployments.
        """
        with self.catalog.read() as session:
            return self._deployment_of(_deployment_row(session, name))

    def deploy(self, name: str, change: Deploy, *, seen: int | None = None) -> Deployment:
        """Make a version the stable one of `name`, or its canary or shadow; without a number, the newest.

        A new stable version ends a canary. If it is live already, nothing changes and no event is recorded.
        For the canary it replaces, `change` sets another share or guard.

        Raises:
            Conflict: the deployment serves another task, or changed since `seen`, or the version on trial is
                its stable one.
            NotFound: there is no such version, or no such deployment to try it in.
        """
        check_name(name, "deployment")
        with self.catalog.write() as session:
            version = self._find(session, change.version)
            if seen is not None:
                _deployment_row(session, name, seen)
            if change.trial:
                return self._try(session, _deployment_row(session, name), version, change)
            row = session.get(DeploymentRow, name)
            before = _ref(row.stable) if row else None
            if row is None:
                task = self._version_of(version).manifest.serving.task
                row = DeploymentRow(name=name, task=task, stable=version, previous=None)
            else:
                self._refuse_other_task(row, version)
                if row.stable is version and row.canary is None:
                    return self._deployment_of(row)
                if row.stable is not version:
                    row.previous, row.stable = row.stable, version
                _end_trial(row, shadow=row.shadow is version)
            return self._changed(session, row, "deploy", before, _ref(version), change)

    def promote(self, name: str, change: DeploymentChange, *, seen: int | None = None) -> Deployment:
        """Make the canary, or where there is none the shadow, the stable version.

        Raises:
            Conflict: there is neither, or it changed since `seen`.
        """
        with self.catalog.write() as session:
            row = _deployment_row(session, name, seen)
            target = row.canary or row.shadow
            if target is None:
                raise Conflict(
                    f"{name!r} has no canary and no shadow to promote: it serves {_ref(row.stable)} alone. "
                    f"Start one with `hub deploy NAME@N --as {name} --canary 10`."
                )
            before = _ref(row.stable)
            row.previous, row.stable = row.stable, target
            _end_trial(row, shadow=row.shadow is target)
            return self._changed(session, row, "promote", before, _ref(target), change)

    def rollback(self, name: str, change: DeploymentChange, *, seen: int | None = None) -> Deployment:
        """Remove canary and shadow; without them, go back to the previous version.

        A second rollback to the previous version undoes the first.

        Raises:
            Conflict: there is no previous version, or it changed since `seen`.
        """
        with self.catalog.write() as session:
            row = _deployment_row(session, name, seen)
            if tried := row.canary or row.shadow:
                before, after = _ref(tried), _ref(row.stable)
                _end_trial(row, shadow=True)
            elif row.previous is None:
                raise Conflict(
                    f"{name!r} has served {_ref(row.stable)} alone: there is nothing to go back to."
                )
            else:
                before, after = _ref(row.stable), _ref(row.previous)
                row.previous, row.stable = row.stable, row.previous
            return self._changed(session, row, "rollback", before, after, change)

    def undeploy(self, name: str, change: DeploymentChange) -> None:
        """Remove a deployment; its versions stay."""
        with self.catalog.write() as session:
            row = _deployment_row(session, name)
            self._record_event(session, name, "undeploy", _ref(row.stable), None, change)
            session.delete(row)

    def history(self, name: str) -> list[DeploymentEvent]:
        """Return the events of a deployment, oldest first, also of a removed one."""
        with self.catalog.read() as session:
            query = (
                select(DeploymentEventRow)
                .where(DeploymentEventRow.deployment == name)
                .order_by(DeploymentEventRow.generation)
            )
            events = [_event_of(row) for row in session.scalars(query)]
            if not events:
                _deployment_row(session, name)
            return events

    def _find(self, session: Session, ref: VersionRef | str) -> VersionRow:
        """Return the row that a reference names, or raise NotFound with the existing names."""
        ref = parse_version_ref(ref) if isinstance(ref, str) else ref
        query = select(VersionRow).where(VersionRow.name == ref.name).order_by(VersionRow.number.desc())
        rows: Sequence[VersionRow] = session.scalars(query).all()
        for row in rows:
            if ref.number in (None, row.number):
                return row
        if rows:
            known = [f"{row.name}@{row.number}" for row in rows]
            raise NotFound.of("version", str(ref), known)
        names = session.scalars(select(VersionRow.name).distinct())
        raise NotFound.of("adapter", ref.name, names, "See `hub adapters list`.")

    def _version_of(self, row: VersionRow) -> Version:
        """Convert a row."""
        return Version(
            name=row.name,
            number=row.number,
            sha256=row.sha256,
            path=self.contents.path(row.sha256),
            manifest=_manifest(row.manifest),
            created=datetime.fromisoformat(row.created),
        )

    def _deployment_of(self, row: DeploymentRow) -> Deployment:
        canary = None
        if row.canary:
            guard = json.loads(row.canary_guard or "{}")
            canary = Canary(self._version_of(row.canary), row.canary_percent or 0.0, guard)
        return Deployment(
            name=row.name,
            task=row.task,
            stable=self._version_of(row.stable),
            previous=self._version_of(row.previous) if row.previous else None,
            generation=row.generation,
            updated=datetime.fromisoformat(row.updated),
            canary=canary,
            shadow=self._version_of(row.shadow) if row.shadow else None,
            trial=row.trial,
        )

    def _try(self, session: Session, row: DeploymentRow, version: VersionRow, change: Deploy) -> Deployment:
        kind = change.trial or ""
        self._refuse_other_task(row, version)
        if version is row.stable:
            raise Conflict(f"{_ref(version)} is live in {row.name!r} already: it cannot be its {kind} too.")
        current = row.shadow if change.shadow else row.canary
        before = _ref(current) if current else None
        row.trial = None if current is not version else row.trial
        if change.shadow:
            row.shadow = version
        else:
            row.canary, row.canary_percent = version, change.canary
            row.canary_guard = json.dumps(change.limits, sort_keys=True)
        return self._changed(session, row, kind, before, _ref(version), change)

    def _refuse_other_task(self, row: DeploymentRow, version: VersionRow) -> None:
        task = self._version_of(version).manifest.serving.task
        if row.task != task:
            raise Conflict(
                f"{row.name!r} serves the task {row.task!r} and {_ref(version)} is for {task!r}: its callers "
                "would get answers of another kind. Deploy it under a name of its own."
            )

    def _changed(
        self,
        session: Session,
        row: DeploymentRow,
        kind: str,
        before: str | None,
        after: str,
        change: DeploymentChange,
    ) -> Deployment:
        event = self._record_event(session, row.name, kind, before, after, change)
        row.generation, row.updated = event.generation, event.when
        if (row.canary or row.shadow) and row.trial is None:
            row.trial = event.generation
        session.add(row)
        session.flush()
        return self._deployment_of(row)

    def _record_event(
        self,
        session: Session,
        name: str,
        kind: str,
        before: str | None,
        after: str | None,
        change: DeploymentChange,
    ) -> DeploymentEventRow:
        counter = self.catalog.changed(session)
        counter.value += 1
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        event = DeploymentEventRow(
            generation=counter.value,
            deployment=name,
            kind=kind,
            when=when,
            who=change.by,
            before=before,
            after=after,
            reason=change.reason,
        )
        session.add(event)
        self.catalog.announce(session)
        return event


_ALL = select(DeploymentRow).order_by(DeploymentRow.name)
_STATES = select(DeploymentRow.name, DeploymentRow.generation, DeploymentRow.updated).order_by(
    DeploymentRow.name
)
_NAMES = 500  # in one query: databases limit the variables of a statement


def _is_same(known: Deployment | None, generation: int, updated: str) -> bool:
    """Return whether a deployment is as it was; the times differ if another catalog took the place of one."""
    return known is not None and (known.generation, known.updated) == (
        generation,
        datetime.fromisoformat(updated),
    )


@lru_cache(maxsize=512)
def _manifest(text: str) -> Manifest:
    """Parse a manifest; cached because a server reads its deployments again after every change."""
    return Manifest.model_validate_json(text)


def _deployment_row(session: Session, name: str, seen: int | None = None) -> DeploymentRow:
    row = session.get(DeploymentRow, check_name(name, "deployment"))
    if row is None:
        known = (row.name for row in session.scalars(_ALL))
        raise NotFound.of("deployment", name, known, "Make one with `hub deploy NAME@N --as DEPLOYMENT`.")
    if seen is not None and row.generation != seen:
        raise Conflict(f"{name!r} was changed meanwhile (generation {row.generation}, not {seen}).")
    return row


def _end_trial(row: DeploymentRow, *, shadow: bool) -> None:
    """Remove the canary, and with `shadow` also the shadow."""
    row.canary = row.canary_percent = row.canary_guard = None
    if shadow:
        row.shadow = None
    row.trial = None


def _ref(row: VersionRow) -> str:
    return f"{row.name}@{row.number}"


def _event_of(row: DeploymentEventRow) -> DeploymentEvent:
    return DeploymentEvent(
        generation=row.generation,
        deployment=row.deployment,
        kind=row.kind,
        when=datetime.fromisoformat(row.when),
        who=row.who,
        before=parse_version_ref(row.before) if row.before else None,
        after=parse_version_ref(row.after) if row.after else None,
        reason=row.reason,
    )
