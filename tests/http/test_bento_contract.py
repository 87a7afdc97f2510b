"""The private parts of BentoML 1.4.39 that hub/http relies on, and side effects of its middleware."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.profiles import thorough

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bento(service):
    import hub.http.bento

    return hub.http.bento


def test_the_names_we_replace_are_still_in_its_stack(bento, serving, monkeypatch) -> None:
    """A renamed middleware would slip past the filter and come back."""
    seen = {}
    parent = bento.ServiceAppFactory.middlewares.fget
    monkeypatch.setattr(
        bento.ServiceAppFactory, "middlewares", property(lambda self: seen.setdefault("all", parent(self)))
    )
    with serving():
        stack = {middleware.cls for middleware in seen["all"]}
    assert {bento.ContextMiddleware, bento.RunnerTrafficMetricsMiddleware, bento.TimeoutMiddleware} <= stack
    assert bento.OpenTelemetryMiddleware in stack
    assert bento.AccessLogMiddleware not in stack, "switched off in the service's settings"


def test_none_of_them_is_left(bento, service, serving) -> None:
    """Neither in the application BentoML builds, nor around ours."""
    with serving():
        factory = bento.HubAppFactory(service, is_main=True)
        assert factory.middlewares == []
        assert factory.kept() == []


def test_the_request_metrics_have_the_names_and_labels_we_feed(bento) -> None:
    metrics = bento._bento_metrics("bentoml_service")
    labels = {"endpoint", "service_name", "service_version", "runner_name"}
    assert set(metrics.metrics_request_in_progress._labelnames) == labels
    assert set(metrics.metrics_request_total._labelnames) == labels | {"http_response_code"}
    assert set(metrics.metrics_request_duration._labelnames) == labels | {"http_response_code"}


def test_the_hooks_we_use_are_called(bento) -> None:
    source = inspect.getsource(bento.ServiceAppFactory)
    for name in ("__is_ready__", "__bentoml_startup_hook__", "__bentoml_shutdown_hook__", "to_asgi"):
        assert name in source or hasattr(bento.Service, name), name
    assert {"is_main"} <= set(inspect.signature(bento.Service.to_asgi).parameters)
    assert hasattr(bento.Service, "mount_asgi_app")
    assert isinstance(inspect.getattr_static(bento.Service, "openapi_spec"), property)


def test_an_app_of_the_service_keeps_its_hub_while_another_is_built(service, serving) -> None:
    with serving() as first:
        runtime = service.hub.runtime
        with serving() as second:
            assert service.hub.runtime is not runtime
            assert second.get("/readyz").status_code == 200
        assert first.get("/readyz").status_code == 200
        assert runtime.ready
    assert not runtime.ready


@pytest.mark.parametrize("replicas", [1, 3])
def test_there_are_as_many_workers_as_the_settings_say(service, monkeypatch, replicas) -> None:
    """BentoML's supervisor asks its allocator, which reads the configuration that we hand over."""
    from _bentoml_impl.server.allocator import ResourceAllocator

    monkeypatch.setenv("HUB_SERVE__REPLICAS", str(replicas))
    service.inject_config()
    assert ResourceAllocator().get_worker_env(service) == (replicas, {})


# A secret; the others go the same way: tests/test_config.py
@pytest.mark.parametrize("setting", ["HUB_SERVE__API_KEYS", "HUB_LIMITS__ROWS"][: 2 if thorough() else 1])
def test_bentoml_serve_with_a_wrong_setting_ends_with_one_line(monkeypatch, setting) -> None:
    monkeypatch.setenv(setting, '["short"]')
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", "hub.http.service:svc", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"Setting '{setting.removeprefix('HUB_').replace('__', '.').lower()}'" in line


def test_metrics_of_several_workers_are_files_whose_names_end_in_the_process(tmp_path) -> None:
    """What forgets the gauges of the dead goes by the name."""
    code = (
        "from hub.config import load_settings; from hub.http.metrics.metrics import Metrics; import os; "
        "Metrics(load_settings(flags={'serve': {'replicas': 2}})).slots('tiny', 1, 4); "
        "from pathlib import Path; folder = Path(os.environ['PROMETHEUS_MULTIPROC_DIR']); "
        "print(folder.parent, (folder / f'gauge_livesum_{os.getpid()}.db').stat().st_blocks * 512)"
    )
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "PYTHONWARNINGS": "ignore",
    }
    (tmp_path / "run").mkdir()
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    assert printed.split() == [str(tmp_path / "run"), "65536"]


def test_answered_requests_are_not_kept_in_memory(shared) -> None:
    """BentoML's own timer holds every request for the whole timeout."""
    from starlette.requests import Request

    for _ in range(20):
        shared.post("/v1/deployments/mood/predict", json={"text": "a film"})
    gc.collect()
    assert sum(isinstance(thing, Request) for thing in gc.get_objects()) < 5


def test_the_supervisor_stays_light() -> None:
    """It imports the service as well, and has no use for a model library."""
    code = "import hub.http.service, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "transformers", "peft", "onnxruntime", "datasets", "sklearn", "pandas"}
    assert heavy.isdisjoint(done.stdout.split())
