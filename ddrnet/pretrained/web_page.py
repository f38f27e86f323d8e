"""Web pages that a server sends in place of a file. Loads no torch."""

from __future__ import annotations

from contextlib import suppress
from html.parser import HTMLParser
from urllib.parse import urlencode


class WebPage(HTMLParser):
    """The title of a page, and the address behind its button.

    Attributes:
        title: Its title.
        address: The address behind the button of Google Drive's page about large files; "" if the
            page is another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.title = self.address = self._action = ""
        self._is_title = self._is_form = False
        self._fields: dict[str, str] = {}

    @classmethod
    def parsed(cls, text: str) -> WebPage | None:
        """Parse the text of a page; None if there is none."""
        page = cls()
        with suppress(AssertionError):  # which a malformed declaration raises in Python 3.11
            page.feed(text)
        return page if text else None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take notice of the title, the form and its fields."""
        values = {name: value or "" for name, value in attrs}
        self._is_title = tag == "title"
        if tag == "form":
            self._is_form = values.get("id") == "download-form"
            self._action = values.get("action", "")
        elif tag == "input" and self._is_form and "name" in values:
            self._fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Put the address together where the form ends."""
        self._is_title = False
        if tag == "form" and self._is_form and self._action:
            self.address = f"{self._action}?{urlencode(self._fields)}"
            self._is_form = False

    def handle_data(self, data: str) -> None:
        """Collect the title."""
        if self._is_title:
            self.title += data
