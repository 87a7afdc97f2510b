from __future__ import annotations

import multiprocessing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import delete, update

from hub.errors import BadConfig, BadRequest, Conflict, InvalidName, NotFound
from hub.names import VersionRef
from hub.store.catalog.tables import AnswerRow, DeploymentEventRow
from hub.store.change import Deploy, DeploymentChange
from hub.store.records import Deployment
from hub.store.store import Store


def test_a_deployment_serves_what_was_deployed_last(stocked: Store) -> None:
    first = stocked.deploy("live", Deploy(version="x@1", by="ann"))
    assert (first.stable.number, first.previous, first.task, first.generation) == (
        1,
        None,
        "classification",
        1,
    )
    second = stocked.deploy("live", Deploy(version="x", by="bob", reason="better"))
    assert (second.stable.number, second.previous.number, second.generation) == (3, 1, 2)
    assert stocked.deployment("live") == second
    assert stocked.deployments() == [second]


def test_rollback_goes_back_and_a_second_one_forth(stocked: Store) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="ann"))
    stocked.deploy("live", Deploy(version="x@2", by="ann"))
    assert [stocked.rollback("live", DeploymentChange(by="ann")).stable.number for _ in range(3)] == [1, 2, 1]


def test_deploying_what_is_live_is_no_move(stocked: Store) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="ann"))
    stocked.deploy("live", Deploy(version="x@2", by="ann"))
    again = stocked.deploy("live", Deploy(version="x@2", by="bob"))
    assert (again.previous.number, again.generation, stocked.generation()) == (1, 2, 2)


def test_rolling_back_the_first_version_is_refused(stocked: Store) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="ann"))
    with pytest.raises(Conflict, match="nothing to go back to"):
        stocked.rollback("live", DeploymentChange(by="ann"))
    assert stocked.generation() == 1


def test_another_adapter_of_the_same_task_may_take_over(stocked: Store, peft_folder, serving) -> None:
    stocked.add("z", peft_folder(9), serving, origin="trained")
    stocked.deploy("live", Deploy(version="x@1", by="ann"))
    assert str(stocked.deploy("live", Deploy(version="z@1", by="ann")).stable.ref) == "z@1"


def test_a_deployment_never_changes_its_task(stocked: Store) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="ann"))
    with pytest.raises(Conflict, match="'classification' and y@1 is for 'sentiment'"):
        stocked.deploy("live", Deploy(version="y@1", by="ann"))
    assert str(stocked.deployment("live").stable.ref) == "x@1"
    stocked.undeploy("live", DeploymentChange(by="ann"))
    assert stocked.deploy("live", Deploy(version="y@1", by="ann")).task == "sentiment"


def test_the_history_tells_who_moved_what_and_why(stocked: Store) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="ann", reason="first"))
    stocked.deploy("other", Deploy(version="y@1", by="ann"))
    stocked.deploy("live", Deploy(version="x@2", by="bob"))
    stocked.rollback("live", DeploymentChange(by="cy", reason="worse"))
    stocked.undeploy("live", DeploymentChange(by="ann", reason="over"))
    moves = stocked.history("live")
    assert [(move.generation, move.who, move.before, move.after, move.reason) for move in moves] == [
        (1, "ann", None, VersionRef("x", 1), "first"),
        (3, "bob", VersionRef("x", 1), VersionRef("x", 2), ""),
        (4, "cy", VersionRef("x", 2), VersionRef("x", 1), "worse"),
        (5, "ann", VersionRef("x", 1), None, "over"),
    ]
    assert [move.when for move in moves] == sorted(move.when for move in moves)


def test_what_does_not_exist_is_answered_with_what_does(stocked: Store) -> None:
    for use in (stocked.deployment, stocked.history):
        with pytest.raises(NotFound, match="hub deploy"):
            use("live")
    stocked.deploy("live", Deploy(version="x@1", by="ann"))
    for use in (
        lambda: stocked.rollback("dead", DeploymentChange(by="x")),
        lambda: stocked.undeploy("dead", DeploymentChange(by="x")),
    ):
        with pytest.raises(NotFound, match="Available: live"):
            use()
    with pytest.raises(NotFound, match="x@1, x@2, x@3"):
        stocked.deploy("live", Deploy(version="x@7", by="ann"))
    assert stocked.generation() == 1


@pytest.mark.parametrize("name", ["../x", "A", "", "live@1"])
def test_a_deployment_needs_a_legal_name(stocked: Store, name: str) -> None:
    for use in (
        lambda: stocked.deploy(name, Deploy(version="x@1", by="a")),
        lambda: stocked.deployment(name),
    ):
        with pytest.raises(InvalidName):
            use()


def test_events_are_append_only(stocked: Store) -> None:
    stocked.deploy("live", Deploy(version="x@1", by="ann"))
    for statement in (delete(DeploymentEventRow), update(DeploymentEventRow).values(who="eve")):
        with pytest.raises(BadConfig, match="append-only"), stocked.catalog.write() as session:
            session.execute(statement)
    assert [move.who for move in stocked.history("live")] == ["ann"]


def _flip(home: Path, name: str, moves: int) -> None:
    store = Store(home)
    for number in range(moves):
        store.deploy(name, Deploy(version=f"x@{number % 2 + 1}", by=name))


def test_every_move_of_every_process_has_a_generation_of_its_own(stocked: Store) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hub.store.store", __name__])
    workers = [
        context.Process(target=_flip, args=(stocked.home, name, 8)) for name in ("one", "two", "three")
    ]
    for worker in workers:
        worker.start()
    seen = [stocked.generation()]
    while any(worker.is_alive() for worker in workers):
        state = stocked.deployments()
        seen.append(stocked.generation())
        assert all(deployment.generation <= seen[-1] for deployment in state)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert seen == sorted(seen)
    generations = [move.generation for name in ("one", "two", "three") for move in stocked.history(name)]
    assert sorted(generations) == list(range(1, 25)) == list(range(1, stocked.generation() + 1))


NAMES = st.sampled_from(["one", "two"])


class Bookkeeping(RuleBasedStateMachine):
    """The catalog beside a model of it: a stack of two for each deployment, and a list of moves."""

    store: Store  # emptied of deployments before each run

    def __init__(self) -> None:
        super().__init__()
        for deployment in self.store.deployments():
            self.store.undeploy(deployment.name, DeploymentChange(by="reset"))
        self.start = self.store.generation()
        self.past = {name: self._moves(name) for name in ("one", "two")}
        self.live: dict[str, tuple[int, int | None]] = {}
        self.moves: list[tuple[str, int | None, int | None]] = []
        self.known: dict[str, Deployment] = {}

    @rule()
    def read_what_changed(self) -> None:
        _, self.known = self.store.current(self.known)

    @rule(name=NAMES, number=st.integers(1, 3))
    def deploy(self, name: str, number: int) -> None:
        stable, _ = self.live.get(name, (None, None))
        self.store.deploy(name, Deploy(version=f"x@{number}", by="test"))
        if stable != number:
            self.live[name] = (number, stable)
            self.moves.append((name, stable, number))

    @rule(name=NAMES)
    def rollback(self, name: str) -> None:
        stable, previous = self.live.get(name, (None, None))
        if stable is None or previous is None:
            with pytest.raises(Conflict if stable else NotFound):
                self.store.rollback(name, DeploymentChange(by="test"))
            return
        self.store.rollback(name, DeploymentChange(by="test"))
        self.live[name] = (previous, stable)
        self.moves.append((name, stable, previous))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def undeploy(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        stable, _ = self.live.pop(name)
        self.store.undeploy(name, DeploymentChange(by="test"))
        self.moves.append((name, stable, None))

    @rule(name=NAMES)
    def refuse_another_task(self, name: str) -> None:
        if name in self.live:
            with pytest.raises(Conflict):
                self.store.deploy(name, Deploy(version="y@1", by="test"))

    @invariant()
    def agrees(self) -> None:
        found = {
            each.name: (each.stable.number, each.previous.number if each.previous else None)
            for each in self.store.deployments()
        }
        assert found == self.live
        assert self.store.generation() == self.start + len(self.moves)
        every = {each.name: each for each in self.store.deployments()}
        assert self.store.current(self.known) == (self.store.generation(), every)
        for name in ("one", "two"):
            moved = [(before, after) for who, before, after in self.moves if who == name]
            assert self._moves(name)[len(self.past[name]) :] == moved

    def _moves(self, name: str) -> list[tuple[int | None, int | None]]:
        try:
            history = self.store.history(name)
        except NotFound:
            return []
        return [
            (move.before.number if move.before else None, move.after.number if move.after else None)
            for move in history
        ]


def test_any_sequence_of_moves_keeps_the_books(stocked: Store) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("Bound", (Bookkeeping,), {"store": stocked})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_only_deployments_that_changed_are_read_again(stocked: Store) -> None:
    stocked.deploy("one", Deploy(version="x@1", by="ann"))
    stocked.deploy("two", Deploy(version="x@1", by="ann"))
    _, known = stocked.current({})
    stocked.deploy("two", Deploy(version="x@2", by="ann"))
    generation, found = stocked.current(known)
    assert (generation, found["two"].stable.number, list(found)) == (3, 2, ["one", "two"])
    assert found["one"] is known["one"]


def test_a_deployment_of_another_catalog_is_read_again(stocked: Store) -> None:
    """A backup was restored, and changed since: generations are given a second time."""
    stocked.deploy("one", Deploy(version="x@1", by="ann"))
    there = stocked.deployment("one")
    known = {"one": replace(there, stable=stocked.get("x@2"), updated=there.updated - timedelta(days=1))}
    assert stocked.current(known) == (1, {"one": there})


def test_any_number_of_deployments_may_have_changed(stocked: Store, monkeypatch) -> None:
    monkeypatch.setattr("hub.store.catalog.deployments._NAMES", 2)
    for name in ("a", "b", "c"):
        stocked.deploy(name, Deploy(version="x@1", by="ann"))
    assert list(stocked.current({})[1].values()) == stocked.deployments()


@pytest.mark.parametrize("text", ["a\0b", "\udcff"])
@pytest.mark.parametrize("key", ["reason", "by"])
def test_a_reason_that_no_database_can_store_is_refused(key: str, text: str) -> None:
    with pytest.raises(BadRequest, match=r"cannot be stored|unable to parse raw data as a unicode string"):
        Deploy.of(version="x@1", **{key: text})


def test_a_value_that_postgres_refuses_is_no_damage(postgres_url: str, tmp_path) -> None:
    store = Store(tmp_path / "home", postgres_url)
    with pytest.raises(BadRequest, match="cannot store a value"), store.catalog.read() as session:
        session.get(AnswerRow, "a\0b")
    store.close()
