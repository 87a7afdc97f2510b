"""Triton's own client, and the published document of the Open Inference Protocol, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.support.conformance import check_conformance
from tests.support.homes import FakeHome
from tests.support.serving import tiny_base_folder

__all__ = ["tiny_base_folder"]

pytestmark = pytest.mark.e2e

DOCUMENT = Path(__file__).parents[1] / "fixtures" / "openapi" / "open_inference_rest.yaml"
# The client runs on gevent, which is kept out of the process of the tests.
CLIENT = """
import json, sys
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

def texts(name, values, binary):
    tensor = InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array(values, dtype=object), binary_data=binary)
    return tensor

client = InferenceServerClient(sys.argv[1].removeprefix("http://"))
found = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model ready": [client.is_model_ready(name) for name in ("mood", "nobody")],
    "server": client.get_server_metadata(),
    "model": client.get_model_metadata("reader"),
}
question, context = ["Who saw it?", "Wann? \\u00fc"], ["Ann saw it on Monday."] * 2
for way in (True, False):
    wanted = None if way else [InferRequestedOutput(name, binary_data=False) for name in ("answer", "score")]
    inputs = [texts("question", question, way), texts("context", context, way)]
    more = {"request_id": "7", "parameters": {"top_k": 2}, "timeout": 60_000_000}
    result = client.infer("reader", inputs, outputs=wanted, **more)
    found["binary" if way else "json"] = {
        "answer": [str(one if isinstance(one, str) else one.decode()) for one in result.as_numpy("answer")],
        "score": result.as_numpy("score").tolist(),
        "version": result.get_response()["parameters"]["version"],
        "id": result.get_response()["id"],
    }
try:
    client.infer("mood", [texts("txt", ["x"], True)])
except InferenceServerException as error:
    found["error"] = [error.status(), error.message()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Iterator[httpx.Client]:
    """A server with two deployments, on the fake engine."""
    home = FakeHome(tmp_path_factory.mktemp("oip"), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    reader = home.add("reader", seed=2, task="qa", kind=HeadKind.SPAN, labels=())
    home.store.deploy("reader", Deploy(version=reader.ref))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_SERVE__POLL_MS", "10")  # an unknown name waits for one
        with Hub(home.path).serving("--engine", "fake") as client:
            yield client


def test_tritons_client_asks_with_binary_and_json_tensors(server: httpx.Client) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(server.base_url)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["live"], found["ready"], found["model ready"]) == (True, True, [True, False])
    assert found["server"]["name"] == "grafthub"
    assert [tensor["name"] for tensor in found["model"]["inputs"]] == ["question", "context"]
    items = [
        {"question": text, "context": "Ann saw it on Monday.", "top_k": 2}
        for text in ("Who saw it?", "Wann? ü")
    ]
    reply = server.post("/v1/deployments/reader/predict", json={"items": items})
    expected = [item["result"] for item in reply.json()["items"]]
    for way in ("binary", "json"):
        assert found[way]["answer"] == [one["answer"] for one in expected]
        assert found[way]["score"] == pytest.approx([one["score"] for one in expected])
        assert (found[way]["version"], found[way]["id"]) == ("reader@1", "7")
    status, message = found["error"]
    assert status == "400" and "no input 'txt'" in message


@pytest.mark.slow
def test_every_answer_is_one_that_the_protocol_declares(server: httpx.Client, tmp_path: Path) -> None:
    document = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    path = tmp_path / "protocol.json"
    path.write_text(json.dumps(patched(document)), encoding="utf-8")
    check_conformance(
        path,
        tmp_path,
        *("--url", str(server.base_url), "--max-examples", "30"),
        *("--exclude-checks", "positive_data_acceptance"),  # tensors are those of a deployment's task
    )


def patched(document: dict) -> dict:
    """Return the document with paths as OpenAPI writes them, names that exist, and the errors of its text.

    The text of the protocol has an error object for every request that fails; the document has it for two
    of the operations alone.
    """
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/inference_error_response"}}}
    for operations in document["paths"].values():
        for parameter in operations.get("parameters", ()):
            parameter["schema"]["enum"] = ["mood"] if parameter["name"] == "MODEL_NAME" else ["1"]
        for method in {"get", "post"} & operations.keys():
            operations[method]["responses"]["default"] = {"description": "An error", "content": content}
    document["paths"] = {path.replace("${", "{"): one for path, one in document["paths"].items()}
    return document
