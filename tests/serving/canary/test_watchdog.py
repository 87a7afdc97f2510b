"""Guards over real catalogs: several replicas count, one of them decides, once, also after an outage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.errors import BadAdapter, NotReady
from hub.serving.canary.counts import Counts
from hub.serving.canary.watchdog import Guards
from hub.serving.observation import Observation, Track
from hub.store.catalog.counters import Counters
from hub.store.catalog.deployments import Deployments
from hub.store.catalog.feedback import Answers, StoredAnswer
from hub.store.catalog.tables import DeploymentRow
from hub.store.change import Deploy, DeploymentChange
from hub.store.records import Deployment
from hub.store.store import Store


class Replica:
    """A replica without its engine: what it counts, its part in guarding, and its moves in the catalog."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.counts = Counts()
        self.guards = Guards(store, name, store, self.counts, feedback=True)

    def serve(
        self, requests: int, *, failed: int = 0, agreed: int | None = None, seconds: float = 0.01
    ) -> None:
        """Answer requests with the canary, and as many with the stable version, which does well."""
        deployment = self.store.deployment("shop")
        assert deployment.canary
        for number in range(requests):
            self._saw(deployment, Track.STABLE, error="", seconds=0.01)
            error = "engine_failed" if number < failed else ""
            matched = None if agreed is None or error else number - failed < agreed
            self._saw(deployment, Track.CANARY, error=error, seconds=seconds, agreed=matched)

    def _saw(self, deployment: Deployment, track: Track, **more: Any) -> None:
        stable, canary = deployment.stable, deployment.canary.version
        version, other = (canary, stable) if track is Track.CANARY else (stable, canary)
        self.counts.count(Observation(deployment, track, version, "", beside=other, **more))


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request, tmp_path) -> Iterator[Callable[[], Store]]:
    """Open the same store again and again, each time with connections of its own."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    opened: list[Store] = []

    def build() -> Store:
        opened.append(Store(tmp_path / "home", url))
        return opened[-1]

    yield build
    for store in opened:
        store.close()


@pytest.fixture
def begin(open_store, add_versions) -> Callable[..., list[Replica]]:
    """Begin a trial of shop@2 in `shop` under a guard, watched by some replicas."""

    def build(replicas: int = 2, **guard: Any) -> list[Replica]:
        store = open_store()
        add_versions(store)
        store.deploy("shop", Deploy(version="shop@1", by="t"))
        store.deploy("shop", Deploy(version="shop@2", canary=50, guard={"minutes": 0, **guard}, by="t"))
        return [Replica(open_store(), f"r{number}") for number in range(replicas)]

    return build


@pytest.fixture
def add_versions(tmp_path) -> Callable[[Store], None]:
    from hub.bases.base import Base, BaseKind
    from tests.support.homes import add_version, plain_adapter

    def add(store: Store) -> None:
        base = Base("tiny", "tiny", "0" * 64, BaseKind.ENCODER, "bert", 64, tmp_path / "base")
        for seed in (1, 2, 3):
            add_version(store, base, "shop", plain_adapter(tmp_path / f"made-{seed}", seed=seed))

    return add


def last(store: Store) -> tuple[str, str, str]:
    move = store.history("shop")[-1]
    return move.kind, move.who, move.reason


@pytest.mark.parametrize(
    ("guard", "served", "reason"),
    [
        ({"error_rate": 0.01}, {"failed": 20}, "error rate 0.33 above 0.01 over 120 requests"),
        ({"agreement": 0.95}, {"agreed": 45}, "agreement 0.75 under 0.95 over 120 requests"),
        ({"p99_ms": 50}, {"seconds": 0.2}, "p99 205 ms above 50 ms over 120 answers"),
    ],
)
def test_a_bad_canary_is_rolled_back_by_what_all_replicas_counted(begin, guard, served, reason) -> None:
    one, two = begin(**guard)
    one.serve(60, **served)
    one.guards.check()
    assert last(one.store)[0] == "canary", "sixty are too few"
    assert one.guards.describe() == {"shop": "60 of 100 requests"}
    two.serve(60, **served)
    two.guards.check()
    kind, who, said = last(one.store)
    assert (kind, who) == ("rollback", "guard")
    assert said.startswith(reason)
    assert "[canary 120 requests, " in said
    assert "stable 120 requests, 0 failed, p99 " in said
    assert one.store.deployment("shop").canary is None
    one.guards.check()
    assert one.guards.describe() == {}
    assert Counters(one.store.catalog).of("shop", 2) == {}, "what was counted of the trial is gone"


def test_a_good_canary_is_promoted_after_its_requests_and_its_time(begin, monkeypatch) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(minutes=11)

    (one,) = begin(1, error_rate=0.05, agreement=0.9, p99_ms=100, minutes=10)
    one.serve(99, agreed=99)
    one.guards.check()
    assert last(one.store)[0] == "canary"
    one.serve(1, agreed=1)
    one.guards.check()
    assert one.guards.describe()["shop"].endswith(" of 10 minutes")
    monkeypatch.setattr("hub.serving.canary.watchdog.datetime", Later)
    one.guards.check()
    kind, who, reason = last(one.store)
    assert (kind, who) == ("promote", "guard")
    assert reason.startswith("error rate 0 within 0.05 over 100 requests; p99 ")
    assert str(one.store.deployment("shop").stable.ref) == "shop@2"


def test_a_canary_is_never_promoted_on_no_data(begin) -> None:
    (one,) = begin(1, error_rate=0.5, requests=1)
    for _ in range(3):
        one.guards.check()
    assert last(one.store)[0] == "canary"


def test_many_replicas_decide_once(begin) -> None:
    replicas = begin(6, error_rate=0.01, requests=10)
    replicas[0].serve(40, failed=40)
    replicas[0].guards._save()
    barrier = threading.Barrier(len(replicas))
    raised: list[BaseException] = []

    def look(replica: Replica) -> None:
        barrier.wait()
        try:
            replica.guards.check()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=look, args=(replica,)) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert [move.kind for move in replicas[0].store.history("shop")] == ["deploy", "canary", "rollback"]


def test_one_that_decides_by_what_is_over_moves_nothing(begin) -> None:
    one, two = begin(error_rate=0.01, requests=10)
    one.serve(40, failed=40)
    two.guards.check()
    one.guards._save()
    one.store.deploy("shop", Deploy(version="shop@3", canary=10, guard={"error_rate": 0.01}, by="somebody"))
    two.guards._analyze(two.guards._guarded[0])
    assert last(one.store)[:2] == ("canary", "somebody")
    assert str(one.store.deployment("shop").canary.version.ref) == "shop@3"
    one.serve(50)
    one.guards.check()
    assert one.guards.describe() == {"shop": "50 of 100 requests"}, "a new trial is counted anew"


def test_counting_goes_on_while_the_catalog_is_gone_and_the_decision_follows(begin, monkeypatch) -> None:
    (one,) = begin(1, error_rate=0.01)
    one.guards.check()

    def gone(*arguments: object) -> None:
        raise NotReady("The catalog cannot be used right now.")

    with monkeypatch.context() as outage:
        outage.setattr(one.store.catalog, "write", gone)
        outage.setattr(one.store.catalog, "read", gone)
        for _ in range(3):
            with pytest.raises(NotReady):
                one.guards.check()
    one.serve(60, failed=60)
    with monkeypatch.context() as outage:
        outage.setattr(one.store.catalog, "write", gone)
        with pytest.raises(NotReady):
            one.guards.check()
    one.serve(60, failed=60)
    one.guards.check()
    assert last(one.store)[0] == "rollback"
    assert "error rate 1 above 0.01 over 120 requests" in last(one.store)[2]


def test_right_answers_decide_where_the_guard_asks_for_accuracy(begin) -> None:
    (one,) = begin(1, accuracy=0.02, labels=20)
    one.serve(100)
    one.guards.check()
    assert one.guards.describe() == {"shop": "0 of 20 labels on answers of the canary"}
    answers = Answers(one.store.catalog)
    deployment = one.store.deployment("shop")
    label(answers, deployment, deployment.stable, right=90, of=100)
    label(answers, deployment, deployment.canary.version, right=4, of=30)
    one.guards.check()
    kind, who, reason = last(one.store)
    assert (kind, who) == ("rollback", "guard")
    assert reason.startswith(
        "accuracy 0.133 under 0.9 of the stable version less 0.02 over 30 and 100 labels"
    )


def test_labels_on_answers_from_before_the_trial_do_not_count(begin) -> None:
    (one,) = begin(1, accuracy=0.02, labels=20)
    one.serve(100)
    deployment = one.store.deployment("shop")
    for version in (deployment.stable, deployment.canary.version):
        label(Answers(one.store.catalog), deployment, version, right=50, of=50, age=timedelta(hours=1))
    one.guards.check()
    assert one.guards.describe() == {"shop": "0 of 20 labels on answers of the canary"}


def label(
    answers: Answers, deployment, version, *, right: int, of: int, age: timedelta = timedelta()
) -> None:
    when = datetime.now(UTC) - age
    ids = [f"{version.number}-{number}" for number in range(of)]
    answers.keep([StoredAnswer(id, "shop", str(version.ref), version.sha256, when, "{}") for id in ids])
    for number, id in enumerate(ids):
        answers.label(id, "a", lambda response, label, good=number < right: good)


def test_a_promotion_that_cannot_be_is_tried_again_and_holds_up_nothing(begin, monkeypatch, caplog) -> None:
    (one,) = begin(1, error_rate=0.5, requests=1)
    one.serve(5)
    promote = Deployments.promote

    def refuse(*arguments: object, **more: object) -> None:
        raise BadAdapter("Its weights are damaged.")

    monkeypatch.setattr(Deployments, "promote", refuse)
    for _ in range(3):
        one.guards.check()
    assert one.guards.describe() == {"shop": "Its weights are damaged."}
    assert caplog.text.count("Its weights are damaged.") == 1
    monkeypatch.setattr(Deployments, "promote", promote)
    one.guards.check()
    assert last(one.store)[0] == "promote"


def test_a_guard_of_the_catalog_that_is_not_valid_is_reported_and_changes_nothing(begin) -> None:
    (one,) = begin(1, agreement=0.5)
    with one.store.catalog.write() as session:
        session.get_one(DeploymentRow, "shop").canary_guard = '{"agrement": 0.5}'
    one.serve(200, failed=200)
    one.guards.check()
    assert "no 'agrement'" in one.guards.describe()["shop"]
    assert last(one.store)[0] == "canary"


def test_the_stable_version_is_not_blamed_for_what_a_caller_sent(begin) -> None:
    (one,) = begin(1, error_rate=0.01, requests=10)
    deployment = one.store.deployment("shop")
    for code in ("bad_request", "invalid_text", "too_large", "overloaded", "not_ready", "cancelled"):
        for _ in range(20):
            one._saw(deployment, Track.CANARY, error=code, seconds=0.0)
    assert one.counts.changed() == {}
    for code in ("internal", "engine_failed", "deadline_exceeded", "bad_recipe"):
        one._saw(deployment, Track.CANARY, error=code, seconds=0.0)
    (counter,) = one.counts.changed().values()
    assert (counter.requests, counter.errors) == (4, 4)


def test_a_shadow_is_credited_with_its_agreement(begin) -> None:
    (one,) = begin(1, error_rate=0.01)
    store = one.store
    store.rollback("shop", DeploymentChange(by="t"))
    deployment = store.deploy("shop", Deploy(version="shop@3", shadow=True, by="t"))
    for number in range(10):
        one.counts.count(
            Observation(
                deployment,
                Track.STABLE,
                deployment.stable,
                "",
                0.01,
                beside=deployment.shadow,
                agreed=number < 7,
            )
        )
    one.guards.check()
    counted = Counters(store.catalog).of("shop", deployment.trial)
    shadow, stable = counted[deployment.shadow.sha256], counted[deployment.stable.sha256]
    assert (shadow.compared, shadow.agreed, shadow.requests) == (10, 7, 0)
    assert (stable.requests, stable.compared) == (10, 0)
