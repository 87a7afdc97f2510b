"""The console in a real browser: two replicas behind one address, and everything that needs scripts."""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest

from hub.console.sessions import Sessions
from hub.http.auth import Keys, digest_of
from hub.store.change import Deploy
from tests.conftest import cache_home
from tests.e2e.conftest import Hub
from tests.support.browser import AXE, Tab, axe, chromium, open_tab, why_no_browser
from tests.support.homes import FakeHome
from tests.support.tiny import tiny_encoder
from tests.support.waiting import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser() or "-"),
]

PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
DEPENDS_ON_COLOURS = ("color-contrast", "link-in-text-block")
FIRST_LOAD_BYTES = 150_000
TRAINING_LIMIT_MS = 480_000
CSV = "text,label\n" + "".join(
    f"a {word} film {number},{label}\n"
    for number in range(20)
    for word, label in (("warm", "good"), ("dull", "bad"))
)
PAGES = (
    "/console/deployments",
    "/console/deployments/mood",
    "/console/deployments/mood/change?kind=rollback",
    "/console/deployments/mood/disagreements",
    "/console/deployments/risky/try",
    "/console/sign-in",
    "/console/versions",
    "/console/versions/mood@1",
    "/console/compare?a=mood@1&b=mood@2",
    "/console/training",
    "/console/plugins",
    "/console/engine",
    "/console/deployments/nothing",
)
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script><p hx-get="/console" hx-trigger="load">'
OpenTab = Callable[..., AbstractContextManager[Tab]]


@dataclass(frozen=True)
class Site:
    """A running server, its home, and the cookie of a session with the admin key."""

    home: FakeHome
    url: str
    cookie: dict[str, Any]

    def deploy(self, name: str, version: str, **change: Any) -> None:
        self.home.store.deploy(name, Deploy(version=version, by="tester", **change))

    def cookie_for(self, seconds: int) -> dict[str, Any]:
        """Return the cookie of a session that ends so soon, signed as the server does."""
        admin, secret = ((self.home.path / name).read_text().strip() for name in ("admin.key", "session.key"))
        sessions = Sessions(Keys(admin), digest_of(secret), seconds)
        with ThreadPoolExecutor(1) as thread:  # this one has the loop of Playwright
            value = thread.submit(asyncio.run, sessions.sign_in(admin)).result()
        return {"name": sessions.cookie, "value": value, "domain": "127.0.0.1", "path": "/console"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("browser")
    tiny_encoder(folder / "tiny")
    home = FakeHome(folder / "home", folder / "tiny")
    for seed in (1, 2, 3):
        home.add("mood", seed=seed)
    home.add("risky", task="classification", labels=(EVIL, "plain"))
    home.store.deploy("mood", Deploy(version="mood@1", by="tester"))
    home.store.deploy("risky", Deploy(version="risky@1", by=EVIL[:60], reason=EVIL))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"JOBS__NICE": "0", "JOBS__THREADS": "1", "SERVE__POLL_MS": "50"}.items():
            patch.setenv(f"HUB_{name}", value)
        with Hub(home.path).serving("--engine", "fake", "--replicas", "2") as client:
            made = Site(home, str(client.base_url).rstrip("/"), {})
            yield Site(home, made.url, made.cookie_for(3600))


@pytest.fixture(scope="module")
def tab(site: Site) -> Iterator[OpenTab]:
    """Open a page of the server; it is signed in unless `cookies` are given."""
    with chromium() as browser:

        @contextmanager
        def opened(cookies: list[Any] | None = None, **settings: Any) -> Iterator[Tab]:
            with open_tab(browser, site.url, **settings) as tab:
                tab.page.context.add_cookies([site.cookie] if cookies is None else cookies)
                yield tab

        yield opened


@pytest.fixture(scope="module")
def load(site: Site) -> Iterator[None]:
    """Somebody who asks `mood` all the time; every answer must be one."""
    stop, refused = threading.Event(), []

    def ask() -> None:
        while not stop.wait(0.05):
            reply = client.post("/v1/deployments/mood/predict", json={"text": "a warm film"})
            if reply.status_code != 200:
                refused.append(reply.text)

    thread = threading.Thread(target=ask)
    with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as client:
        thread.start()  # it reads no environment, which each test changes while it is set up
        yield
        stop.set()
        thread.join()
    assert refused == []


def sign_in(tab: Tab, site: Site) -> None:
    tab.page.fill("#key", (site.home.path / "admin.key").read_text().strip())
    tab.page.click("main button")


def test_a_swap_under_load_is_seen_without_a_reload(site: Site, tab: OpenTab, load: None) -> None:
    with tab() as one:
        page = one.goto("/console/deployments")
        page.evaluate("window.stayed = true")
        page.locator("#d-mood td.n:nth-of-type(5)", has_text=re.compile("[1-9]")).wait_for()  # calls a second
        site.deploy("mood", "mood@2")
        page.get_by_role("row", name="mood@2").wait_for()
        assert page.evaluate("window.stayed") is True


def test_a_page_is_live_although_a_script_comes_late(site: Site, tab: OpenTab) -> None:
    def late(route: Any) -> None:
        time.sleep(1)
        route.continue_()

    with tab() as one:
        one.page.route("**/hx-sse.min.js*", late)
        with one.page.expect_response("**/console/live/deployments*"):
            one.goto("/console/deployments")


def test_a_page_is_live_although_its_first_connection_failed(site: Site, tab: OpenTab) -> None:
    failed: list[str] = []

    def once(route: Any) -> None:
        if failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.abort()

    def sooner(route: Any) -> None:
        script = route.fetch()
        route.fulfill(response=script, body=script.text().replace("RETRY_MS = 3000", "RETRY_MS = 100"))

    with tab() as one:
        one.page.route("**/console.js*", sooner)
        one.page.route("**/console/live/deployments*", once)
        page = one.goto("/console/deployments")
        assert until(lambda: page.wait_for_timeout(50) or bool(failed))
        site.deploy("mood", "mood@3")
        page.get_by_role("row", name="mood@3").wait_for()
        one.problems.clear()  # the connection that failed
        site.deploy("mood", "mood@1")
        page.get_by_role("row", name="mood@1").wait_for()


def test_a_canary_is_promoted_and_rolled_back_by_click(site: Site, tab: OpenTab, load: None) -> None:
    site.deploy("mood", "mood@1")
    site.deploy("mood", "mood@3", canary=50)
    with tab() as one:
        page = one.goto("/console/deployments/mood")
        page.locator("#role-canary").get_by_text("mood@3").wait_for()
        page.click("text=Promote")
        assert page.inner_text("h1") == "Promote mood@3?"
        page.fill("#reason", "better on the reviews of spring")
        page.click("text=Promote mood@3 in place of mood@1")
        page.locator("#role-stable").get_by_text("mood@3").wait_for()
        assert "better on the reviews of spring" in page.inner_text("main")
        page.click("text=Roll back")
        page.click("text=Roll back from mood@3 to mood@1")
        page.locator("#role-stable").get_by_text("mood@1").wait_for()
        page.locator("figure.plot canvas").wait_for()  # the curve of the traffic
    assert str(site.home.store.deployment("mood").stable.ref) == "mood@1"


def test_a_file_becomes_a_live_endpoint(site: Site, tab: OpenTab) -> None:
    with tab() as one:
        page = one.goto("/console/training")
        file: Any = {"name": "films.csv", "mimeType": "text/csv", "buffer": CSV.encode()}
        page.set_input_files("input[type=file]", files=[file])
        page.click("text=Upload and look at it")
        page.select_option("select[name=task]", "classification")
        page.click("text=Look at the columns")
        assert "good 20" in page.inner_text("main")
        page.fill("#deploy", "films")
        page.click("text=Settings")
        page.fill("#n_epochs", "2")
        page.click("text=Start training")
        ended = page.get_by_role("status").get_by_text(re.compile("succeeded|failed"))
        ended.wait_for(timeout=TRAINING_LIMIT_MS)  # without a reload
        assert "succeeded" in page.inner_text("main"), page.inner_text("main")
        page.get_by_role("link", name="films", exact=True).click()
        page.click("text=Try it")
        page.fill("#f-text", "a warm film 7")
        page.click("main button:has-text('Ask')")
        page.locator("#answer meter").first.wait_for()
        assert "good" in page.inner_text("#answer")


def test_what_others_wrote_is_text(site: Site, tab: OpenTab) -> None:
    with tab() as one:
        page = one.goto("/console/deployments/risky/try")
        page.fill("#f-text", EVIL)
        page.click("main button:has-text('Ask')")
        page.locator("#answer meter").first.wait_for()
        assert EVIL in page.inner_text("#answer")
        rows = "text,<b onclick=alert(3)>\n" + "<img src=x onerror=alert(4)>,x\n" * 4
        file: Any = {"name": f"{EVIL}.csv", "mimeType": "text/csv", "buffer": rows.encode()}
        one.goto("/console/training")
        page.set_input_files("input[type=file]", files=[file])
        page.click("text=Upload and look at it")
        assert "<script>alert(2)</script>" in page.inner_text("h1")
        assert "<b onclick=alert(3)>" in page.inner_text("main")
        assert "<img src=x onerror=alert(4)>" in page.inner_text("main")
        for path in (
            "/console/deployments/risky",
            "/console/versions/risky@1",
            f"/console/deployments?q={EVIL}",
            f"/console/versions?q={EVIL}",
        ):
            one.goto(path)
            made = page.evaluate("document.querySelectorAll('main img, main script, main p[hx-get]').length")
            assert made == 0, path
        one.goto("/console/deployments/risky")
        assert EVIL in page.inner_text("main")


def test_a_session_that_ends_sends_to_sign_in(site: Site, tab: OpenTab) -> None:
    with tab(cookies=[site.cookie_for(3)]) as one:
        page = one.goto("/console/deployments/mood")
        page.wait_for_url("**/console/sign-in?next=*")  # the live part has noticed
        sign_in(one, site)
        page.wait_for_url("**/console/deployments/mood")


def test_a_session_is_valid_on_both_replicas(site: Site) -> None:
    seen = set()

    def asked() -> bool:
        cookies = {site.cookie["name"]: site.cookie["value"]}
        reply = httpx.get(f"{site.url}/console/deployments", cookies=cookies)  # a connection of its own
        assert reply.status_code == 200, reply.text
        seen.add(reply.text.partition("Replica ")[2][:8])
        return len(seen) == 2

    assert until(asked, 30), seen


def test_all_works_without_scripts(site: Site, tab: OpenTab) -> None:
    site.deploy("mood", "mood@1")
    site.deploy("mood", "mood@2")
    with tab(cookies=[], java_script_enabled=False) as one:
        one.goto("/console/deployments/mood")
        sign_in(one, site)
        one.page.click("text=Roll back")
        one.page.click("text=Roll back from mood@2 to mood@1")
        one.page.locator("#role-stable").get_by_text("mood@1").wait_for()
        one.page.click("text=Try it")
        one.page.click("main button:has-text('Ask')")
        assert one.page.locator("#answer meter").count() == 2


def test_the_keyboard_is_enough(site: Site, tab: OpenTab) -> None:
    site.deploy("mood", "mood@1")
    site.deploy("mood", "mood@2")
    with tab(cookies=[]) as one:
        page = one.goto("/console/deployments/mood")
        page.keyboard.type((site.home.path / "admin.key").read_text().strip())  # its field has the focus
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/deployments/mood")
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        reach(page, "Roll back")
        page.keyboard.press("Enter")
        page.wait_for_url("**/change?kind=rollback")
        reach(page, "Roll back from mood@2 to mood@1")
        page.keyboard.press("Enter")
        page.locator("#role-stable").get_by_text("mood@1").wait_for()


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.innerText || document.activeElement.name || ''"))


def reach(page: Any, text: str) -> None:
    """Press Tab until the element with a text has the focus."""
    for _ in range(30):
        if focused(page) == text:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{text} cannot be reached by Tab")


def test_a_first_load_is_small(tab: OpenTab) -> None:
    with tab() as one:
        page = one.goto("/console/versions/mood@1")  # with all scripts, and no stream
        sent = page.evaluate(
            "performance.getEntries().reduce((all, one) => all + (one.transferSize ?? 0), 0)"
        )
    assert 30_000 < sent < FIRST_LOAD_BYTES


@pytest.mark.parametrize("settings", [{}, PHONE], ids=["desktop", "dark phone"])
def test_pages_fit_and_axe_finds_nothing_serious(tab: OpenTab, settings: dict[str, Any]) -> None:
    script = axe(cache_home() / AXE) if shutil.which("npm") else None
    rules = DEPENDS_ON_COLOURS if settings else ()  # the rest is the same in both
    found: list[str] = []
    with tab(**settings) as one:
        colour = partial(one.page.evaluate, "getComputedStyle(document.body).backgroundColor")
        for path in PAGES:
            page = one.goto(path)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width == page.viewport_size["width"], path
            found += one.violations(script, rules) if script else []
        assert (colour() == "rgb(20, 23, 26)") is bool(settings)
        one.problems[:] = [problem for problem in one.problems if "404" not in problem]  # of the last page
    assert found == []
    if script is None:
        pytest.skip("npm, which fetches axe, is not installed")
