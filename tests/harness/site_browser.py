"""`python -m harness.site_browser DIRECTORY`: opens every page of the site in a headless Chromium.

A page fails if its console has an error, if it sends a request to another host, or if a diagram is not drawn. It also
clicks through the navigation and searches for typical terms.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

LOOPBACK = "127.0.0.1"
SEARCHES = {
    "OwnedByOther": "reasons/",
    "Authorization header": "how-to/rotate-a-header/",
    "kind cluster": "getting-started/",
}
"""Search terms, each with a page that has to be among the results."""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(directory: Path) -> Iterator[str]:
    server = ThreadingHTTPServer((LOOPBACK, 0), partial(QuietHandler, directory=str(directory)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}/"
    finally:
        server.shutdown()


class Visitor:
    """A page of the browser that records forbidden events."""

    def __init__(self, browser: Browser) -> None:
        self.complaints: list[str] = []
        self.page: Page = browser.new_page()
        self.page.on("console", lambda message: self._note(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("request", lambda request: self._check(request.url))

    def _note(self, what: str) -> None:
        self.complaints.append(f"{self.page.url}: {what}")

    def _check(self, url: str) -> None:
        address = urlsplit(url)
        if address.scheme not in ("data", "blob") and address.hostname != LOOPBACK:
            self._note(f"asks {url}")

    def open(self, url: str) -> None:
        answer = self.page.goto(url, wait_until="load")
        if answer is None or answer.status != 200:
            self._note("is not there")
        self._await_diagrams()

    def _await_diagrams(self) -> None:
        """Material replaces each `pre.mermaid` by a `div.mermaid` with the drawing in a closed shadow root."""
        self.page.wait_for_function("document.querySelector('pre.mermaid') === null", timeout=20_000)
        for diagram in self.page.locator("div.mermaid").all():
            box = diagram.bounding_box()
            if box is None or box["height"] < 50:
                self._note("a diagram is not drawn")

    def click_through(self, home: str) -> int:
        """Clicks every link of the navigation; returns their number."""
        self.open(home)
        links = "nav.md-nav--primary a.md-nav__link[href]:not([href^='#'])"
        count = self.page.locator(links).count()
        for index in range(count):
            self.open(home)
            link = self.page.locator(links).nth(index)
            target = link.evaluate("element => element.href")
            with self.page.expect_navigation():
                link.evaluate("element => element.click()")
            if self.page.url != target:
                self._note(f"a click leads here, and not to {target}")
        return int(count)

    def search(self, home: str, text: str, expected: str) -> None:
        self.open(home)
        self.page.locator("input.md-search__input").click()
        self.page.keyboard.type(text, delay=10)
        result = f"a.md-search-result__link[href*='{expected}']"
        try:
            self.page.wait_for_selector(result, state="attached", timeout=10_000)
        except Exception as error:
            self._note(f"a search for {text!r} does not find {expected}: {type(error).__name__}")


def main(directory: Path) -> int:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print(
            "Chromium is needed, for example from the package chromium; CHROMIUM= names another one.", file=sys.stderr
        )
        return 1
    pages = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*.html"))
    with served(directory) as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        visitor = Visitor(browser)
        for page in pages:
            visitor.open(home + page)
        clicked = visitor.click_through(home)
        for text, expected in SEARCHES.items():
            visitor.search(home, text, expected)
        browser.close()
    for complaint in visitor.complaints:
        print(complaint)
    print(
        f"{len(pages)} pages opened, {clicked} links clicked, {len(SEARCHES)} searches: "
        f"{len(visitor.complaints)} complaints."
    )
    return 1 if visitor.complaints else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
