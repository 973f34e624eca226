"""What the gate found out about one request, carried through its exchange."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from sidecar.core.denial import Answer
from sidecar.core.identity import BoundSession, Session
from sidecar.core.routes import Rule
from sidecar.core.verdict import ANONYMOUS, Identity, Permit
from sidecar.gate.callbacks import Claim

ALLOWED: Final = "allow"


class Login(Protocol):
    """A callback of the app's login that is in flight (`bindings/logins.py`)."""

    @property
    def session(self) -> Session | None:
        """Whom the app has just logged in."""

    @property
    def claim(self) -> Claim | None:
        """The session that the callback names itself, as long as nothing better is known."""

    @property
    def failed(self) -> bool:
        """Whether the login could not be verified."""

    @property
    def is_at_stake(self) -> bool:
        """Whether the app may log somebody in with this request, or has done so."""

    def end(self) -> None:
        """The callback was answered, or is gone."""


class Judgement:
    """`permit` or `answer`: one of them is there. Class attributes are defaults; a plain judgement sets few."""

    answer: Answer | None = None
    known: tuple[bytes, BoundSession] | None = None  # the one bound credential, where that is all there is
    _identity: Identity = ANONYMOUS
    epoch = -1  # of the replica when the verdict was taken; another epoch means: look again
    is_reviewed = True  # False on routes that are forwarded unjudged
    is_control = False  # for the control application instead of the app
    awaits_body = False  # a callback that cannot be judged before its body is here
    is_logout_path = False
    is_spared = False  # not cut by a revocation: the app's logout, until its answer says that it is none
    decision = ALLOWED  # or the reason of a denial, for the access log
    expired_cookies: tuple[bytes, ...] = ()  # Set-Cookie values to add when the request was stripped
    session: BoundSession | None = None  # what new cookies inherit; of a denied request, whom it met

    def __init__(self, permit: Permit | None, rule: Rule) -> None:
        self.permit = permit
        self.rule = rule
        self.login: Login | None = None

    @property
    def identity(self) -> Identity:
        """What the request presented. Built when somebody asks: most answers go out unasked."""
        return Identity((), (self.known,)) if self.known is not None else self._identity

    @identity.setter
    def identity(self, identity: Identity) -> None:
        self._identity, self.known = identity, None

    def is_fresh_login(self, learned: BoundSession | None) -> bool:
        """Whether the app has just logged in anew, so that what the request presented before does not count."""
        login = self.login
        return learned is not None and login is not None and (login.session is not None or login.claim is not None)


@dataclass(slots=True)
class Review:
    """What the gate says about a response head: an answer to send instead, or the lines to send."""

    answer: Answer | None = None
    lines: list[bytes] | None = field(default=None, repr=False)
