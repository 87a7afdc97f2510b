"""Makes the pictures of console.md: a server with a fake engine under load, in a real browser.

python -m docs.console_pictures
"""

from __future__ import annotations

import io
import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from hub.store.change import Deploy
from tests.e2e.conftest import Hub
from tests.support.browser import chromium
from tests.support.homes import FakeHome
from tests.support.tiny import tiny_encoder

__all__ = ["FOLDER"]

FOLDER = Path(__file__).with_name("console")
WIDTH, HEIGHT, COLOURS = 1100, 720, 64
SECONDS = 45  # of load, before the first picture
LABELS = {"topic": ("sports", "science", "politics"), "intent": ("book", "cancel", "ask")}
TEXT = "Two hours of warm light, and an ending that stays with you."


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        home = _home(Path(folder))
        hub = Hub(home.path, forked=False)
        with hub.serving("--engine", "fake", "--slots", "12") as client, _load(str(client.base_url)):
            size: Any = {"width": WIDTH, "height": HEIGHT}
            page = browser.new_page(base_url=str(client.base_url), viewport=size)
            page.goto("/console/deployments")
            page.fill("#key", (home.path / "admin.key").read_text().strip())
            page.click("main button")
            page.wait_for_timeout(SECONDS * 1000)
            _take(page, "deployments")
            page.goto("/console/deployments/mood")
            page.locator("figure.plot canvas").wait_for()
            _take(page, "deployment")
            page.goto("/console/deployments/mood/try")
            page.fill("#f-text", TEXT)
            page.click("main button:has-text('Ask')")
            page.locator("#answer meter").first.wait_for()
            _take(page, "try")
            page.goto("/console/engine")
            page.wait_for_timeout(5000)
            _take(page, "engine")


def _home(folder: Path) -> FakeHome:
    tiny_encoder(folder / "tiny")
    home = FakeHome(folder / "home", folder / "tiny")
    for name in ("intent", "mood", "spam", "topic"):
        labels = LABELS.get(name, ("negative", "positive"))
        task = "classification" if name in LABELS else "sentiment"
        for seed in (1, 2, 3):
            home.add(name, seed=seed, task=task, labels=labels)
        home.store.deploy(name, Deploy(version=f"{name}@1", by="ana"))
    home.store.deploy("mood", Deploy(version="mood@2", by="ana", reason="trained on the reviews of spring"))
    guard = {"error_rate": 0.5, "agreement": 0.05}
    home.store.deploy("mood", Deploy(version="mood@3", by="ben", canary=20, guard=guard))
    return home


@contextmanager
def _load(url: str) -> Iterator[None]:
    stop = threading.Event()

    def ask(seed: int) -> None:
        choice = random.Random(seed)
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stop.wait(choice.uniform(0.01, 0.1)):
                name = choice.choice(("mood", "mood", "mood", "topic", "intent"))
                body = {"text": "a film " * choice.randint(1, 9)}
                client.post(f"/v1/deployments/{name}/predict", json=body)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def _take(page: Any, name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
    picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
