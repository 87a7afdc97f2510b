"""Images, from a folder of files to a hot swap: a new recipe, training, deployment, requests and limits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

from hub.api import HeadKind
from tests.console.conftest import Browser
from tests.e2e.conftest import Hub
from tests.support.images import image_file, image_of, one_colour, write_folders
from tests.support.tiny import tiny_adapter, tiny_vision

pytestmark = pytest.mark.e2e

PREDICT = "/v1/deployments/photos/predict"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """A workspace with a version that was trained on a folder of images, and one of plain PEFT."""
    folder = tmp_path_factory.mktemp("images")
    hub = Hub(folder / "home")
    vit = tiny_vision(folder / "vit")
    hub.run_here("base", "pull", str(vit.path), "--name", "vit")
    data, recipe = write_folders(folder / "photos", each=12), folder / "recipes" / "photos"
    made = hub.run_here(
        "recipe", "new", "image-classification", str(data), "--base", "vit", "-o", str(recipe)
    )
    assert "24 rows, image=image, label=label" in made
    file = recipe / "recipe.yaml"
    text = file.read_text()
    assert "max_length" not in text
    file.write_text(text.replace("train:", "train:\n  max_steps: 4\n  dtype: fp32"))
    hub.run_here("train", str(recipe))
    made = tiny_adapter(vit, folder / "adapter", kind=HeadKind.SEQUENCE, labels=("cold", "warm"))
    described = ("--task", "image-classification", "--base", "vit", "--labels", "cold,warm")
    hub.run_here("adapters", "import", str(made), "photos", *described)
    return hub


@pytest.fixture(scope="module")
def server(hub: Hub) -> Iterator[httpx.Client]:
    hub.run("deploy", "photos@1", "--as", "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_SERVE__EXPLAIN", "true")
        with hub.serving("--engine", "torch") as client:
            yield client


@pytest.fixture(scope="module")
def client(server: httpx.Client) -> Iterator[InferenceClient]:
    with pytest.MonkeyPatch.context() as patch:  # with it, the client would not even ask this machine
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield InferenceClient(model=f"{server.base_url}/hf/photos")


def answer(server: httpx.Client, **fields: object) -> dict[str, object]:
    reply = server.post(PREDICT, json=fields)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_an_image_gets_the_label_of_its_folder(server: httpx.Client) -> None:
    found = answer(server, image=one_colour((190, 50, 20)))
    assert found["label"] == "warm" and set(found["scores"]) == {"warm", "cold"}
    url = f"data:image/webp;base64,{one_colour((20, 50, 190), 'WEBP')}"
    assert answer(server, image=url, top_k=1)["label"] == "cold"
    many = server.post(PREDICT, json={"items": [{"image": one_colour("red")}, {"image": url}]}).json()
    assert [one["result"]["label"] for one in many["items"]] == ["warm", "cold"]


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        ("http://127.0.0.1/cat.png", 400, "invalid_image"),
        ("no image", 400, "invalid_image"),
        ("", 400, "invalid_image"),
        (base64.b64encode(b"%PDF-1.7").decode(), 400, "invalid_image"),
        (one_colour("red", "GIF"), 400, "invalid_image"),
        (base64.b64encode(image_file("red")[:60]).decode(), 400, "invalid_image"),
        (7, 400, "bad_request"),
    ],
)
def test_what_is_no_image_is_refused_with_its_field(server, image, status, code) -> None:
    reply = server.post(PREDICT, json={"image": image})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["field"]) == (status, code, "image")
    assert answer(server, image=one_colour("red"))["label"] == "warm"


def test_hugging_faces_client_sends_the_file_alone_or_in_base64(server, client, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(image_file("red"))
    expected = answer(server, image=one_colour("red"))["scores"]
    for sent in (file, file.read_bytes(), str(file)):
        found = client.image_classification(sent)
        assert {one.label: one.score for one in found} == pytest.approx(expected)
        assert found[0].label == "warm"
    assert len(client.image_classification(file, top_k=1)) == 1
    with pytest.raises(HfHubHTTPError) as caught:
        client.image_classification(b"no image")
    assert caught.value.response.json()["error_type"] == "invalid_image"


def test_versions_are_swapped_under_load_and_each_answer_is_of_one_of_them(hub: Hub, server) -> None:
    image = one_colour((120, 60, 110))
    scores = {"photos@1": answer(server, image=image)["scores"]}
    hub.run("deploy", "photos@2", "--as", "photos")
    scores["photos@2"] = answer(server, image=image)["scores"]
    assert scores["photos@1"] != scores["photos@2"]
    seen = set()
    for number in range(12):
        if number % 4 == 2:
            hub.run("deploy", f"photos@{1 + number // 4 % 2}", "--as", "photos")
        reply = server.post(PREDICT, json={"image": image})
        version = reply.headers["x-hub-version"]
        assert reply.json()["scores"] == pytest.approx(scores[version], abs=1e-5)
        seen.add(version)
    assert seen == {"photos@1", "photos@2"}


def test_commands_send_files(hub: Hub, server: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image_file("red"))
    (tmp_path / "rows.csv").write_text("image\na.png\n../secret.png\n")
    assert hub.json("predict", "photos", str(tmp_path / "a.png"))["label"] == "warm"
    done = hub.json(
        "predict", "photos", "--file", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "answers.jsonl")
    )
    assert (done["answered"], done["failed"]) == (1, 1)
    assert "leads out of the folder" in done["failures"][0]["reason"]
    first = json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[0])
    assert (first["image"], first["label"]) == ("a.png", "warm")


def test_the_patches_of_an_image_are_explained(hub: Hub, server: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image_file("red"))
    told = hub.run_here("explain", "photos@1", str(tmp_path / "a.png"), "--html", str(tmp_path / "page.html"))
    assert "photos@1" in told and "COLUMN" in told
    assert "data:image/png" in (tmp_path / "page.html").read_text()
    asked = {"request": {"image": one_colour("red")}, "method": "attention"}
    hub.run("deploy", "photos@1", "--as", "photos")
    reply = server.post("/v1/deployments/photos/explain", json=asked)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["version"], found["method"]) == ("photos@1", "attention")
    assert found["target"] == answer(server, image=one_colour("red"))["label"]
    assert [len(row) for row in found["patches"]] == [5] * 4
    assert sum(map(sum, found["patches"])) == pytest.approx(1)
    refused = server.post("/v1/deployments/photos/explain", json={"request": {"image": "no image"}})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "request.image")


def test_the_console_draws_the_patches_over_the_image(hub: Hub, server: httpx.Client) -> None:
    browser = Browser(server)
    browser.sign_in((hub.home / "admin.key").read_text().strip())
    body = json.dumps({"image": one_colour((190, 50, 20))})
    shown = browser.send("/console/deployments/photos/explain", body=body, method="attention")
    assert shown.status_code == 200, shown.text
    assert 'viewBox="0 0 20 16"' in shown.text
    assert 'href="data:image/png;base64,' in shown.text
    assert re.search(r'<rect class="for-4" x="\d+" y="\d+" width="4" height="4">', shown.text)
    assert "Scores of the words" not in shown.text


def test_the_console_takes_the_image_as_a_file(hub: Hub, server: httpx.Client) -> None:
    browser = Browser(server)
    browser.sign_in((hub.home / "admin.key").read_text().strip())
    page = browser.get("/console/deployments/photos/try").text
    assert re.search(r'<input id="f-image" type="file" name="file.image" accept="image/\*">', page)

    def asked(image: bytes, text: str) -> str:
        parts = {
            "token": (None, browser.token()),
            "image": (None, text),
            "file.image": ("photo.png", image, "image/png"),
        }
        answer = server.post("/console/deployments/photos/try", files=parts)
        assert answer.status_code == 200, answer.text
        return answer.text

    random = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    large = image_of(Image.fromarray(random))  # more than a field of other forms may have
    answered = asked(large, text="not read")
    expected = server.post(PREDICT, json={"image": base64.b64encode(large).decode()}).json()
    assert expected["scores"].keys() <= set(re.findall(r'<th scope="row">(\w+)</th>', answered))
    assert "THE FILE IN BASE64" in answered
    found = re.search(r'name="body" value="([^"]+)"', answered)
    assert found
    shown = browser.send("/console/deployments/photos/explain", body=unescape(found[1]), method="attention")
    assert shown.status_code == 200, shown.text
    assert 'role="alert"' in asked(b"no image", text="")


def test_a_version_is_exported_as_a_graph(hub: Hub, tmp_path: Path) -> None:
    done = hub.json("export", "photos@1", "-o", str(tmp_path / "out"))
    assert done["parity"]["max_difference"] <= 1e-4
    assert (tmp_path / "out" / "preprocessor_config.json").is_file()


def test_a_version_is_never_served_in_int8(hub: Hub) -> None:
    shown = hub.json("adapters", "show", "photos@1")
    int8 = shown["manifest"]["precision"]["int8"]
    assert (int8["passed"], int8["reason"]) == (False, "int8 is for encoders, and vit is of kind vision")
