"""A real Chromium, and pages that record the browser's complaints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.agent_process import AgentProcess

PROGRAM = "/usr/bin/chromium"
LOST = re.compile("Not connected since .*[0-9]")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE = 30_000
"""Milliseconds that a fact may take on a busy machine."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a file."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=PROGRAM, headless=True, args=list(OPTIONS))
        yield started
        started.close()


class Visit:
    """One person with a separate browser on the pages of one agent."""

    def __init__(self, context: BrowserContext, agent: AgentProcess, port: int | None = None) -> None:
        self.context, self.agent, self._port = context, agent, port
        self.complaints: list[str] = []
        """Messages of the console and exceptions of scripts; empty at the end, except those that a test expects."""
        context.set_default_timeout(PATIENCE)
        self.page = self.new_page()

    def new_page(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        return page

    def url(self, path: str = "/ui/") -> str:
        return f"http://127.0.0.1:{self._port or self.agent.port}{path}"

    def go(self, path: str = "/ui/") -> Page:
        self.page.goto(self.url(path))
        return self.page

    def sign_in(self, token: str) -> Page:
        page = self.go("/ui/")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(self.url("/ui/"))
        return page

    def forget_lost_connections(self) -> None:
        """Forget the browser's own messages about requests without an agent."""
        self.complaints[:] = [each for each in self.complaints if "net::ERR" not in each]

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")


@contextmanager
def visiting(browser: Browser, agent: AgentProcess, port: int | None = None, **options: object) -> Iterator[Visit]:
    """A visit in a fresh context, with options of `Browser.new_context`; ends without a complaint.

    `port` leads to the agent where its own does not.
    """
    context = browser.new_context(**options)  # type: ignore[arg-type]
    try:
        visit = Visit(context, agent, port)
        yield visit
        assert visit.complaints == []
    finally:
        context.close()
