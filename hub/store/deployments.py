"""Deployments: which version is live under which name, every move recorded and counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.errors import Conflict, NotFound
from hub.names import VersionRef, check_name, parse_version_ref
from hub.store.catalog import Catalog, DeploymentRow, GenerationRow, MoveRow, VersionRow
from hub.store.content import Contents
from hub.store.manifest import Manifest
from hub.store.records import Deployment, Move, Version

__all__ = ["Deployments"]


class Deployments:
    """The half of the store that moves pointers; `generation` grows by one with every move."""

    def __init__(self, catalog: Catalog, contents: Contents) -> None:
        self.catalog = catalog
        self.contents = contents

    def generation(self) -> int:
        """Return how many moves there have been; one small read, cheap to poll."""
        with self.catalog.read() as session:
            return session.scalars(select(GenerationRow.value)).one()

    def deployments(self) -> list[Deployment]:
        """Return every deployment, by name, as of one moment."""
        with self.catalog.read() as session:
            return [self._deployment_of(row) for row in session.scalars(_ALL)]

    def deployment(self, name: str) -> Deployment:
        """Return one deployment.

        Raises:
            NotFound: lists the deployments there are.
        """
        with self.catalog.read() as session:
            return self._deployment_of(_deployment_row(session, name))

    def deploy(self, name: str, ref: VersionRef | str, *, by: str, why: str = "") -> Deployment:
        """Make a version the one that `name` serves; without a number, the newest.

        What is live already stays so, and that is not a move.

        Raises:
            Conflict: the deployment serves another task.
        """
        check_name(name, "deployment")
        with self.catalog.write() as session:
            version = self._find(session, ref)
            task = self._version_of(version).manifest.serving.task
            row = session.get(DeploymentRow, name)
            if row is None:
                row = DeploymentRow(name=name, task=task, previous_id=None)
            elif row.task != task:
                raise Conflict(
                    f"{name!r} serves the task {row.task!r} and {_ref(version)} is for {task!r}: its callers "
                    "would get answers of another kind. Deploy it under a name of its own."
                )
            elif row.stable_id == version.id:
                return self._deployment_of(row)
            else:
                row.previous_id = row.stable_id
            return self._move(session, row, version, by, why)

    def rollback(self, name: str, *, by: str, why: str = "") -> Deployment:
        """Go back to the version that was live before; a second rollback undoes the first.

        Raises:
            Conflict: no other version was live before.
        """
        with self.catalog.write() as session:
            row = _deployment_row(session, name)
            target = row.previous
            if target is None:
                raise Conflict(
                    f"{name!r} has served {_ref(row.stable)} alone: there is nothing to go back to."
                )
            row.previous_id = row.stable_id
            return self._move(session, row, target, by, why)

    def undeploy(self, name: str, *, by: str, why: str = "") -> None:
        """Take a deployment away; its versions stay."""
        with self.catalog.write() as session:
            row = _deployment_row(session, name)
            _count(session, name, _ref(row.stable), None, by, why)
            session.delete(row)

    def history(self, name: str) -> list[Move]:
        """Return every move of a deployment, oldest first, also of one that was taken away."""
        with self.catalog.read() as session:
            query = select(MoveRow).where(MoveRow.deployment == name).order_by(MoveRow.generation)
            moves = [_move_of(row) for row in session.scalars(query)]
            if not moves:
                _deployment_row(session, name)
            return moves

    def _find(self, session: Session, ref: VersionRef | str) -> VersionRow:
        """Return the row a reference names, or raise NotFound listing what there is."""
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
        """Turn a catalog row into the value that travels."""
        return Version(
            name=row.name,
            number=row.number,
            sha256=row.sha256,
            path=self.contents.path(row.sha256),
            manifest=Manifest.model_validate_json(row.manifest),
            created=datetime.fromisoformat(row.created),
        )

    def _deployment_of(self, row: DeploymentRow) -> Deployment:
        return Deployment(
            name=row.name,
            task=row.task,
            stable=self._version_of(row.stable),
            previous=self._version_of(row.previous) if row.previous else None,
            generation=row.generation,
            updated=datetime.fromisoformat(row.updated),
        )

    def _move(
        self, session: Session, row: DeploymentRow, target: VersionRow, by: str, why: str
    ) -> Deployment:
        before = _ref(row.stable) if row.stable else None
        move = _count(session, row.name, before, _ref(target), by, why)
        row.stable_id, row.generation, row.updated = target.id, move.generation, move.when
        session.add(row)
        session.flush()
        session.refresh(row)
        return self._deployment_of(row)


_ALL = select(DeploymentRow).order_by(DeploymentRow.name)


def _deployment_row(session: Session, name: str) -> DeploymentRow:
    row = session.get(DeploymentRow, check_name(name, "deployment"))
    if row is None:
        known = (row.name for row in session.scalars(_ALL))
        raise NotFound.of("deployment", name, known, "Make one with `hub deploy NAME@N --as DEPLOYMENT`.")
    return row


def _count(session: Session, name: str, before: str | None, after: str | None, by: str, why: str) -> MoveRow:
    counter = session.scalars(select(GenerationRow)).one()
    counter.value += 1
    when = datetime.now(UTC).isoformat(timespec="microseconds")
    move = MoveRow(
        generation=counter.value, deployment=name, when=when, who=by, before=before, after=after, why=why
    )
    session.add(move)
    return move


def _ref(row: VersionRow) -> str:
    return f"{row.name}@{row.number}"


def _move_of(row: MoveRow) -> Move:
    return Move(
        generation=row.generation,
        deployment=row.deployment,
        when=datetime.fromisoformat(row.when),
        who=row.who,
        before=parse_version_ref(row.before) if row.before else None,
        after=parse_version_ref(row.after) if row.after else None,
        why=row.why,
    )
