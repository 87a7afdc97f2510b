"""The Open Inference Protocol v2: metadata, and tensors as JSON and binary."""

from __future__ import annotations

import json
import struct
import time

import pytest

from hub.api import HeadKind
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

TEXTS = ["a warm film", "a dull film"]
INFER = "/v2/models/mood/infer"


@pytest.fixture(scope="module")
def client(tmp_path_factory, tiny_base_folder):
    """A server with deployments of tasks that answer a label, a span and a text; `mood` had a version 1."""
    home = FakeHome(tmp_path_factory.mktemp("oip"), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    for name, task, kind, labels in (
        ("mood", "sentiment", HeadKind.SEQUENCE, ("negative", "positive")),
        ("topic", "classification", HeadKind.SEQUENCE, ("art", "sport", "food")),
        ("reader", "qa", HeadKind.SPAN, ()),
        ("writer", "generation", HeadKind.GENERATE, ()),
    ):
        added = home.add(name, seed=2, task=task, kind=kind, labels=labels)
        home.store.deploy(name, Deploy(version=added.ref))
    with serve(home.path) as client:
        yield client


def tensor(name, texts, **more):
    return {"name": name, "shape": [len(texts)], "datatype": "BYTES", "data": texts, **more}


def infer(client, name, inputs, **more):
    reply = client.post(f"/v2/models/{name}/infer", json={"inputs": inputs, **more})
    assert reply.status_code == 200, reply.text
    return {output["name"]: output for output in reply.json()["outputs"]}


def native(client, name, *requests):
    reply = client.post(f"/v1/deployments/{name}/predict", json={"items": list(requests)})
    return [item["result"] for item in reply.json()["items"]]


def packed(*texts):
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def test_the_server_and_its_health_are_described(client) -> None:
    for path in ("/v2", "/v2/"):
        assert client.get(path).json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_metadata_name_the_tensors_and_the_version(client) -> None:
    reply = client.get("/v2/models/topic")
    body = reply.json()
    assert (body["name"], body["versions"]) == ("topic", ["1"])
    assert body["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    outputs = {output["name"]: (output["datatype"], output["shape"]) for output in body["outputs"]}
    assert outputs == {
        "label": ("BYTES", [-1]),
        "score": ("FP32", [-1]),
        "scores": ("FP32", [-1, 3]),
        "response": ("BYTES", [-1]),
    }
    assert json.loads(body["properties"]["labels"]) == ["art", "sport", "food"]
    assert reply.headers["x-hub-version"] == "topic@1" and len(reply.headers["x-hub-sha256"]) == 64
    reader = client.get("/v2/models/reader").json()
    assert [one["name"] for one in reader["inputs"]] == ["question", "context"]
    assert [one["name"] for one in client.get("/v2/models/writer").json()["inputs"]] == ["prompt"]


def test_a_deployment_is_ready_or_unknown(client) -> None:
    assert client.get("/v2/models/mood/ready").json() == {"name": "mood", "ready": True}
    reply = client.get("/v2/models/nobody/ready")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert "nobody" in reply.json()["error"]


def test_an_exact_version_is_named_by_its_number(client) -> None:
    path = "/v2/models/mood/versions"
    body = {"inputs": [tensor("text", TEXTS)]}
    assert client.get(f"{path}/2/ready").json() == {"name": "mood", "ready": True}
    assert client.get(f"{path}/2").headers["x-hub-version"] == "mood@2"
    reply = client.post(f"{path}/2/infer", json=body)
    assert reply.json()["outputs"] == client.post(INFER, json=body).json()["outputs"]
    assert reply.headers["x-hub-track"] == "pinned"
    for reply in (client.get(f"{path}/7/ready"), client.post(f"{path}/7/infer", json=body)):
        assert (reply.status_code, reply.json()["code"]) == (404, "version_unavailable")
        assert "mood@2 (stable)" in reply.json()["error"]
    assert client.get(f"{path}/x").status_code == 400


def test_a_batch_has_the_answers_of_the_native_route(client) -> None:
    found = infer(client, "topic", [tensor("text", TEXTS)])
    expected = native(client, "topic", *({"text": text} for text in TEXTS))
    assert found["label"]["data"] == [one["label"] for one in expected]
    assert found["score"]["data"] == pytest.approx([one["score"] for one in expected])
    assert found["scores"]["shape"] == [2, 3]
    assert found["scores"]["data"] == pytest.approx(
        [one["scores"][label] for one in expected for label in ("art", "sport", "food")]
    )
    assert [json.loads(one) for one in found["response"]["data"]] == expected


def test_each_text_field_is_an_input_and_the_other_fields_are_parameters(client) -> None:
    context = "Ann saw it on Monday. Bob did not."
    asked = [tensor("question", ["Who saw it?", "When?"]), tensor("context", [context] * 2)]
    found = infer(client, "reader", asked, parameters={"top_k": 2})
    requests = [{"question": text, "context": context, "top_k": 2} for text in asked[0]["data"]]
    expected = native(client, "reader", *requests)
    assert found["answer"]["data"] == [one["answer"] for one in expected]
    assert found["start"]["datatype"] == "INT64" and found["no_answer"]["datatype"] == "BOOL"
    assert [len(json.loads(one)["answers"]) for one in found["response"]["data"]] == [2, 2]
    shared = infer(client, "reader", asked[:1], parameters={"top_k": 2, "context": context})
    assert shared == found


def test_only_requested_outputs_are_sent_and_the_id_comes_back(client) -> None:
    body = {"id": "42", "inputs": [tensor("text", TEXTS)], "outputs": [{"name": "score"}]}
    reply = client.post(INFER, json=body)
    assert [output["name"] for output in reply.json()["outputs"]] == ["score"]
    assert (reply.json()["id"], reply.json()["model_name"]) == ("42", "mood")
    assert reply.json()["model_version"] == "2"
    assert reply.json()["parameters"]["version"] == reply.headers["x-hub-version"] == "mood@2"


def test_binary_tensors_have_the_values_of_json_ones(client) -> None:
    data = packed(*TEXTS)
    described = {
        "name": "text",
        "shape": [2, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    reply = client.post(
        INFER, content=head + data, headers={"inference-header-content-length": str(len(head))}
    )
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/octet-stream"
    length = int(reply.headers["inference-header-content-length"])
    outputs, rest = json.loads(reply.content[:length])["outputs"], reply.content[length:]
    expected = infer(client, "mood", [tensor("text", TEXTS)])
    sizes = {}
    for output in outputs:
        size = output["parameters"]["binary_data_size"]
        sizes[output["name"]], rest = rest[:size], rest[size:]
    assert not rest and sizes.keys() == expected.keys()
    assert struct.unpack("<2f", sizes["score"]) == pytest.approx(expected["score"]["data"])
    assert sizes["label"] == packed(*expected["label"]["data"])


def test_one_answer_may_mix_json_and_binary_tensors(client) -> None:
    wanted = [{"name": "label"}, {"name": "score", "parameters": {"binary_data": True}}]
    reply = client.post(INFER, json={"inputs": [tensor("text", TEXTS)], "outputs": wanted})
    length = int(reply.headers["inference-header-content-length"])
    label, score = json.loads(reply.content[:length])["outputs"]
    assert len(label["data"]) == 2 and score["parameters"] == {"binary_data_size": 8}
    assert len(reply.content) == length + 8


def test_an_output_that_the_answers_lack_is_left_out(client) -> None:
    asked = {"inputs": [tensor("text", TEXTS)], "parameters": {"top_k": 1}}
    assert "scores" not in infer(client, "topic", **asked)
    reply = client.post("/v2/models/topic/infer", json={**asked, "outputs": [{"name": "scores"}]})
    assert reply.status_code == 400 and "'scores'" in reply.json()["error"]
    assert reply.headers["x-hub-version"] == "topic@1"


def test_the_timeout_of_a_call_is_its_deadline(client) -> None:
    body = {"inputs": [tensor("text", TEXTS)], "parameters": {"timeout": 1}}
    reply = client.post(INFER, json=body)
    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
    body["parameters"]["timeout"] = 60_000_000
    assert client.post(INFER, json=body).status_code == 200


BAD = {
    "no time": {"inputs": [tensor("text", TEXTS)], "parameters": {"timeout": 0}},
    "another input": {"inputs": [tensor("txt", TEXTS)]},
    "no input": {"inputs": []},
    "twice": {"inputs": [tensor("text", TEXTS), tensor("text", TEXTS)]},
    "another datatype": {"inputs": [{**tensor("text", TEXTS), "datatype": "FP32"}]},
    "another shape": {"inputs": [{**tensor("text", TEXTS), "shape": [3]}]},
    "an empty shape": {"inputs": [{**tensor("text", []), "shape": [0]}]},
    "a negative shape": {"inputs": [{**tensor("text", TEXTS), "shape": [-1, -2]}]},
    "too many dimensions": {"inputs": [{**tensor("text", TEXTS), "shape": [1] * 64 + [2]}]},
    "lists beside a text": {"inputs": [{**tensor("text", [[], [], "x"]), "shape": [1] * 63 + [3]}]},
    "numbers": {"inputs": [{**tensor("text", TEXTS), "data": [1, 2]}]},
    "data and binary data": {"inputs": [tensor("text", TEXTS, parameters={"binary_data_size": 0})]},
    "shared memory": {"inputs": [tensor("text", TEXTS, parameters={"shared_memory_region": "x"})]},
    "no binary data": {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}]
    },
    "another parameter": {"inputs": [tensor("text", TEXTS)], "parameters": {"top_k": 1}},
    "an input as parameter": {"inputs": [tensor("text", TEXTS)], "parameters": {"text": "x"}},
    "another output": {"inputs": [tensor("text", TEXTS)], "outputs": [{"name": "logits"}]},
    "classes": {
        "inputs": [tensor("text", TEXTS)],
        "outputs": [{"name": "label", "parameters": {"classification": 2}}],
    },
    "an empty text": {"inputs": [tensor("text", ["fine", ""])]},
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_wrong_body_is_refused_in_the_form_of_the_protocol(client, body) -> None:
    reply = client.post(INFER, json=body)
    assert reply.status_code == 400, reply.text
    assert reply.json().keys() == {"error", "code"}


@pytest.mark.parametrize("shape", [[9] * 100_000, [1] * 100_000, [10**4000] * 64])
def test_a_shape_of_any_size_is_refused_at_once(client, shape) -> None:
    began = time.monotonic()
    reply = client.post(INFER, json={"inputs": [{**tensor("text", [[]] * 50_000 + ["x"]), "shape": shape}]})
    assert reply.status_code in (400, 413) and time.monotonic() - began < 2


def test_the_number_of_texts_is_limited(client) -> None:
    reply = client.post(INFER, json={"inputs": [{**tensor("text", ["x"]), "shape": [2**62, 2**62]}]})
    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("data", "size", "length"),
    [
        (packed("x")[:-1], None, None),
        (packed("x") + b"y", None, None),
        (b"\xff\xff\xff\xff", None, None),
        (b"\x01\x00\x00\x00\xff", None, None),
        (b"", None, None),
        (packed("x"), 3, None),
        (packed("x"), None, "-1"),
        (packed("x"), None, "9" * 11),
        (packed("x"), None, "²"),
    ],
)
def test_wrong_binary_data_are_refused(client, data, size, length) -> None:
    described = {"name": "text", "shape": [1], "datatype": "BYTES"}
    described["parameters"] = {"binary_data_size": len(data) if size is None else size}
    head = json.dumps({"inputs": [described]}).encode()
    headers = {b"inference-header-content-length": (length or str(len(head))).encode()}
    reply = client.post(INFER, content=head + data, headers=headers)
    assert reply.status_code == 400, reply.text


def test_only_these_routes_take_a_body_without_a_content_type(client) -> None:
    body = json.dumps({"inputs": [tensor("text", TEXTS)]}).encode()
    assert client.post(INFER, content=body).status_code == 200
    assert client.post(INFER, content=body, headers={"content-type": "text/plain"}).status_code == 415
    assert client.post(INFER, content=body, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/v1/deployments/mood/predict", content=b'{"text": "x"}').status_code == 415


def test_a_compressed_body_is_refused_with_the_reason(client) -> None:
    reply = client.post(INFER, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert reply.status_code == 415 and "compressed" in reply.json()["error"]
