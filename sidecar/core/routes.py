"""Which rule holds for a request: the first route whose pattern and method match, else the default.

A route can only be matched by a path that every parser reads alike (`paths.is_plain`); any other spelling gets the
default rule, so a route that relaxes enforcement cannot be reached by disguise.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sidecar.core.denial import Action
from sidecar.core.identity import BINDERS_AT_MOST
from sidecar.core.paths import matches

DEFAULT_NAME = "default"


class Traffic:
    """What was judged under one rule. Plain integers beside the rule, so that a request pays for one addition."""

    __slots__ = ("anonymous", "bound", "unbound", "would_deny")

    def __init__(self) -> None:
        self.bound = [0] * BINDERS_AT_MOST  # by the binder's place in `identity.BINDERS`
        self.unbound = self.anonymous = 0
        self.would_deny: Counter[str] = Counter()  # by reason; only while nothing is enforced


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to requests under it. `action` None: forwarded unjudged (`action: allow`)."""

    action: Action | None
    login_url: str | None = None
    fail_open: bool | None = None  # whether to serve on without hearing the store; None: as everywhere else
    deny_unbound: bool | None = None  # whether an unknown credential is refused; None: as everywhere else
    name: str = DEFAULT_NAME  # the pattern as the operator wrote it
    traffic: Traffic = field(default_factory=Traffic, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Route:
    """A rule for some paths and, where `methods` is not empty, only these methods."""

    pattern: re.Pattern[bytes]
    rule: Rule
    methods: frozenset[bytes] = frozenset()


class Routes:
    """The operator's routes, in the order of the file."""

    __slots__ = ("_routes", "default")

    def __init__(self, routes: Sequence[Route], default: Rule) -> None:
        self._routes = tuple(routes)
        self.default = default

    def counted(self, traffic: Callable[[str], Traffic]) -> "Routes":
        """The same routes, with the counters that there are for the names of their rules."""
        routes = [replace(route, rule=replace(route.rule, traffic=traffic(route.rule.name))) for route in self._routes]
        return Routes(routes, replace(self.default, traffic=traffic(self.default.name)))

    @property
    def is_empty(self) -> bool:
        """Whether the default rule holds everywhere."""
        return not self._routes

    def find(self, method: bytes, path: bytes) -> Rule:
        """The rule for a request."""
        if not self._routes:
            return self.default
        for route in self._routes:
            if (not route.methods or method in route.methods) and matches(route.pattern, path):
                return route.rule
        return self.default
