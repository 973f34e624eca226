"""Telling the app of sessions that are over, from the operator's choices."""

import contextlib
import ssl

import aiohttp

from sidecar.app.sockets import client_tls
from sidecar.app.state import State
from sidecar.bindings.remembered import Remembered
from sidecar.bindings.sealer import Sealer
from sidecar.config.address import TcpAddress
from sidecar.config.model import Config
from sidecar.config.outbound_settings import CsrfSettings, NotifyAppSettings
from sidecar.core.csrf import Csrf
from sidecar.core.revocation import SLACK_S
from sidecar.outbound.app_call import AppCall, LogoutCall
from sidecar.outbound.notify_app import NotifyApp

CONNECTIONS = 4


async def open_notify(
    stack: contextlib.AsyncExitStack, config: Config, state: State, sealer: Sealer
) -> NotifyApp | None:
    """Closed with the stack; None where the app is not to be told. Raises CannotStart."""
    settings = config.on_revoked.notify_app
    if settings.path is None or config.enforcement.mode == "observe":  # the app would be the one to log users out
        return None
    call = await _app_call(stack, config, settings.path)
    remembered = Remembered(state.keeping, sealer, ttl_s=int(config.session.max_age + SLACK_S))
    notify = NotifyApp(call.log_out, remembered=remembered, store=state.keeping, attempts=settings.attempts)
    stack.push_async_callback(notify.aclose)
    return notify


async def _app_call(stack: contextlib.AsyncExitStack, config: Config, path: str) -> AppCall:
    """Straight to the app, past the gate: it would refuse the session."""
    upstream, settings = config.upstream, config.on_revoked.notify_app
    where = upstream.url.address
    connector: aiohttp.BaseConnector
    if isinstance(where, TcpAddress):
        connector, host = aiohttp.TCPConnector(limit=CONNECTIONS), str(where)
    else:
        connector, host = aiohttp.UnixConnector(where.path, limit=CONNECTIONS), "localhost"
    session = aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
    tls: ssl.SSLContext | None = client_tls(upstream.ca_file) if upstream.url.scheme == "https" else None
    return AppCall(
        await stack.enter_async_context(session),
        _logout_call(settings, path),
        url=f"{upstream.url.scheme}://{host}",
        origin=config.public_url,
        timeout_s=settings.timeout,
        tls=tls,
    )


def _logout_call(settings: NotifyAppSettings, path: str) -> LogoutCall:
    return LogoutCall(settings.method, path, frozenset(settings.status), _csrf(settings.csrf))


def _csrf(settings: CsrfSettings) -> Csrf | None:
    if settings.path is None:
        return None
    field = settings.field or (settings.input if settings.header is None else None)
    if settings.input is not None:
        return Csrf(settings.path, "input", settings.input, field, settings.header)
    if settings.meta is not None:
        return Csrf(settings.path, "meta", settings.meta, field, settings.header)
    return Csrf(settings.path, "cookie", settings.cookie or "", field, settings.header)
