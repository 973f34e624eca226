"""Which rule holds for a request."""

import pytest

from sidecar.core.denial import Action
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Routes, Rule

DEFAULT, OPEN = Rule(Action.REJECT), Rule(None)
LOGIN, STRIP = Rule(Action.REDIRECT, "/login"), Rule(Action.STRIP)


def route(pattern: str, rule: Rule, *methods: bytes) -> Route:
    return Route(compile_pattern(pattern), rule, frozenset(methods))


ROUTES = Routes(
    [
        route("/static/admin/*", LOGIN),
        route("/static/*", OPEN),
        route("/api/*", STRIP, b"GET", b"HEAD"),
        route("/api/*", LOGIN, b"POST"),
    ],
    DEFAULT,
)


@pytest.mark.parametrize(
    ("method", "path", "rule"),
    [
        (b"GET", b"/", DEFAULT),
        (b"GET", b"/static/a.css", OPEN),
        (b"DELETE", b"/static/a.css", OPEN),  # no methods named: all of them
        (b"GET", b"/static/admin/x", LOGIN),  # the first that matches
        (b"GET", b"/api/x", STRIP),
        (b"HEAD", b"/api/x", STRIP),
        (b"POST", b"/api/x", LOGIN),
        (b"PUT", b"/api/x", DEFAULT),
        (b"get", b"/api/x", DEFAULT),  # methods have a case (reference case 19)
        (b"GET", b"/static", DEFAULT),
        (b"GET", b"/static/../app", DEFAULT),
        (b"GET", b"/static/%2e%2e/app", DEFAULT),
        (b"GET", b"/static/..;/app", DEFAULT),
        (b"GET", b"//static/a.css", DEFAULT),
        (b"GET", b"/static/;jsessionid=1", DEFAULT),
        (b"GET", b"/static\\x", DEFAULT),
        (b"GET", b"/Static/a.css", DEFAULT),
    ],
)
def test_the_first_route_that_matches_plainly_holds(method: bytes, path: bytes, rule: Rule) -> None:
    """Reference cases 123, 166, 167: a spelling that could be read in two ways gets the default."""
    assert ROUTES.find(method, path) is rule


def test_without_routes_the_default_holds() -> None:
    assert Routes([], DEFAULT).find(b"GET", b"/static/x") is DEFAULT
