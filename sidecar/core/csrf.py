"""Where a page of the app keeps its CSRF token: a hidden field of a form, a meta element, or a cookie.

Pure. What is read here is the app's own page, fetched with the user's own cookies; nothing of it is shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Literal

MAX_TOKEN_CHARS = 4096

Source = Literal["input", "meta", "cookie"]


@dataclass(frozen=True, slots=True)
class Csrf:
    """Where the token is (`source`, `name`) and how it has to be sent: in a field of the form, or in a header."""

    path: str
    source: Source
    name: str
    field: str | None = None
    header: str | None = None

    def token(self, page: str, cookies: Iterable[tuple[str, str]]) -> str | None:
        """The token that a page, or the cookies beside it, hold; None where there is none that can be sent."""
        if self.source == "cookie":
            found = next((value for name, value in cookies if name == self.name), None)
        else:
            reader = _Reader(self.source, self.name)
            reader.feed(page)
            found = reader.found
        is_sendable = found is not None and 0 < len(found) <= MAX_TOKEN_CHARS and found.isprintable()
        return found if is_sendable else None


class _Reader(HTMLParser):
    """The value of the first element of one kind that has the name. Never fails: it reads what browsers read."""

    def __init__(self, element: str, name: str) -> None:
        super().__init__()
        self._element = element
        self._name = name
        self.found: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == self._element and attributes.get("name") == self._name and self.found is None:
            self.found = attributes.get("value" if tag == "input" else "content")
