"""The pages of the demo's provider."""

from collections.abc import Sequence
from html import escape

from aiohttp import web

from sidecar.demo.pages import button, page
from sidecar.demo.provider_model import USERS, Delivery, ProviderSession

_ROLE = "Identity provider"


def message(title: str, text: str, *, status: int = 200) -> web.Response:
    """A page that says one thing."""
    return page(role=_ROLE, title=title, body=f"<p>{escape(text)}</p>", status=status)


def home() -> web.Response:
    """The front door."""
    body = '<p>This site knows who you are.</p><p><a href="/sessions">Sessions, for the administrator</a></p>'
    return page(role=_ROLE, title="Demo identity provider", body=body)


def login(query_string: str) -> web.Response:
    """Who are you? The authorization request travels along in the form."""
    buttons = "".join(
        button(action="/login", label=f"Log in as {name}", fields={"user": user, "request": query_string})
        for user, name in USERS.items()
    )
    return page(role=_ROLE, title="Who are you?", body=f"<p>In this demo a click is enough.</p>{buttons}")


def confirm_logout(session: ProviderSession, fields: dict[str, str]) -> web.Response:
    """Ask before a logout that no ID token vouches for."""
    body = button(action="/logout", label="Log out", fields=fields | {"confirmed": "yes"})
    return page(role=_ROLE, title=f"Log out {session.name}?", body=body)


def sessions(current: Sequence[ProviderSession], sent: Sequence[Delivery], *, now: float) -> web.Response:
    """The administrator's page: who is logged in, and what became of the logout tokens."""
    body = (
        f"<h2>Who is logged in</h2>{_table(('User', 'Browser', 'Since', ''), [_row(one, now) for one in current])}"
        f"<h2>Logout tokens sent</h2>{_table(('User', 'Client', 'Answer', 'Time'), [_sent(one) for one in sent])}"
    )
    return page(role=f"{_ROLE}: administrator", title="Sessions", body=body)


def _row(session: ProviderSession, now: float) -> tuple[str, ...]:
    end = button(action="/sessions/end", label="End this session", fields={"sid": session.sid})
    return escape(session.name), escape(session.browser), f"{max(0, now - session.started):.0f} s ago", end


def _sent(delivery: Delivery) -> tuple[str, ...]:
    return delivery.name, escape(delivery.client_id), escape(delivery.outcome), f"{delivery.milliseconds:.1f} ms"


def _table(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return "<p>None.</p>"
    header = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{header}</tr>{lines}</table>"
