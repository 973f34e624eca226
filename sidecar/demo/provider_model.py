"""What the demo's provider remembers: its users, its clients, who is logged in, codes, and logout tokens sent."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")

USERS = {"alice": "Alice Adams", "bob": "Bob Brown"}
KEEP = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An app registered with the provider."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    post_logout_redirect_uri: str
    backchannel_logout_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSession:
    """One browser in which a user is logged in at the provider."""

    cookie: str = field(repr=False)
    sid: str = field(repr=False)
    user: str
    browser: str
    started: float
    clients: set[str] = field(default_factory=set)  # those that may have an ID token are told of the end

    @property
    def name(self) -> str:
        """What people call the user."""
        return USERS[self.user]

    @property
    def sub(self) -> str:
        """What tokens call the user."""
        return f"user-{self.user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """An authorization code: what it was issued for."""

    session: ProviderSession
    client_id: str
    redirect_uri: str
    nonce: str
    challenge: str
    expires: float

    def fits(self, client: Client, form: dict[str, str], now: float) -> bool:
        """Whether this token request may have it (RFC 6749 section 4.1.3, RFC 7636 section 4.6)."""
        return (
            now < self.expires
            and client.client_id == self.client_id
            and form.get("redirect_uri") == self.redirect_uri
            and (not self.challenge or s256(form.get("code_verifier", "")) == self.challenge)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of one logout token."""

    name: str
    client_id: str
    outcome: str  # the HTTP status, or the kind of failure
    milliseconds: float


def s256(verifier: str) -> str:
    """The PKCE challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def keep(kept: dict[_K, _V], key: _K, value: _V) -> None:
    """Add to a dict that holds the newest `KEEP` entries, so that no visitor can fill the memory."""
    kept[key] = value
    if len(kept) > KEEP:
        del kept[next(iter(kept))]  # the oldest: a dict keeps the order of insertion
