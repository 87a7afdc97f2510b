"""A real browser: Chromium, driven by Playwright; and axe, which looks for what hinders readers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["AXE", "Tab", "axe", "chromium", "open_tab", "why_no_browser"]

TIMEOUT_MS = 120_000  # the machine may be busy
NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = "axe-core@4.14.1"  # MPL-2.0; from npm, only for the tests
FLAGS = (
    "--no-sandbox",  # which root may not have
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)


def why_no_browser() -> str:
    """Return why there is no browser; .ci/run installs one where it can."""
    if not find_spec("playwright"):
        return "playwright is not installed"
    return "" if any(map(shutil.which, NAMES)) else "no Chromium is installed"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; no other event loop can run in this thread meanwhile."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Tab:
    """A page of a browser, with what went wrong in it: errors, failed requests, dialogs."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def goto(self, path: str) -> Page:
        self.page.goto(path)
        return self.page

    def violations(self, axe: Path, rules: Sequence[str] = ()) -> list[str]:
        """Return what axe finds serious, with the first element of each; by all of its rules, or by these."""
        self.page.evaluate(axe.read_text(encoding="utf-8"))
        options = {"runOnly": list(rules)} if rules else {}
        found: Any = self.page.evaluate("options => axe.run(options)", options)
        return [
            f"{self.page.url}: {one['id']}: {one['nodes'][0]['html'][:200]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]


@contextmanager
def open_tab(browser: Browser, url: str, **settings: Any) -> Iterator[Tab]:
    """Open a page with cookies of its own; nothing may go wrong in it until it is closed.

    `settings` are those of Playwright's contexts. A browser notes an answer with an error status as an
    error, too: tests that expect one take it from `problems`.
    """
    context = browser.new_context(base_url=url, **settings)
    context.set_default_timeout(TIMEOUT_MS)
    tab = Tab(context.new_page())

    def message(message: Any) -> None:
        if message.type in ("error", "warning"):
            tab.problems.append(f"{message.type}: {message.text}")

    def dialog(dialog: Any) -> None:
        tab.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    tab.page.on("console", message)
    tab.page.on("dialog", dialog)
    tab.page.on("pageerror", lambda error: tab.problems.append(f"page: {error}"))
    try:
        yield tab
        assert not tab.problems, tab.problems
    finally:
        context.close()


def axe(folder: Path) -> Path:
    """Return axe's script, which npm puts into `folder`, if it is not there yet."""
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if script.is_file():
        return script
    folder.mkdir(parents=True, exist_ok=True)
    npm = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", AXE]
    done = subprocess.run(npm, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return script
