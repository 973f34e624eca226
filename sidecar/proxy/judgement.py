"""What the gate found out about one request, carried through its exchange."""

from dataclasses import dataclass, field
from typing import Protocol

from sidecar.core.denial import Answer
from sidecar.core.identity import BoundSession, Session
from sidecar.core.routes import Rule
from sidecar.core.verdict import ANONYMOUS, Identity, Permit


class Login(Protocol):
    """A callback of the app's login that is in flight (`bindings/logins.py`)."""

    @property
    def session(self) -> Session | None:
        """Whom the app has just logged in."""

    @property
    def failed(self) -> bool:
        """Whether the login could not be verified."""

    def end(self) -> None:
        """The callback was answered, or is gone."""


@dataclass(slots=True)
class Judgement:
    """`permit` or `answer`: one of them is there."""

    permit: Permit | None
    answer: Answer | None = None
    identity: Identity = ANONYMOUS
    epoch: int = -1  # of the replica when the verdict was taken; another epoch means: look again
    login: Login | None = None
    is_reviewed: bool = True  # False on routes that are forwarded unjudged
    is_logout_path: bool = False
    expired_cookies: tuple[bytes, ...] = ()  # Set-Cookie values to add when the request was stripped
    session: BoundSession | None = None  # what new cookies inherit
    is_control: bool = False  # for the control application instead of the app
    rule: Rule | None = None

    def is_fresh_login(self, learned: BoundSession | None) -> bool:
        """Whether the app has just logged in anew, so that what the request presented before does not count."""
        return learned is not None and self.login is not None and self.login.session is not None


@dataclass(slots=True)
class Review:
    """What the gate says about a response head: an answer to send instead, or the fields to send."""

    answer: Answer | None = None
    headers: list[tuple[bytes, bytes]] | None = field(default=None, repr=False)
