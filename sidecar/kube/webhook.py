"""The admission webhook over HTTPS: `POST /mutate`, `/livez`, `/readyz`. It keeps nothing and asks nobody.

Without a client of the Kubernetes API there are no Events; the reason of a skip is a warning in the answer, which the
API server hands to whoever made the pod, and a line in the log. Bounded in size and in time, below the `timeoutSeconds`
of 5 that the configuration of the webhook should have.
"""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sidecar import log
from sidecar.kube.review import BadReview, review
from sidecar.kube.settings import Settings

_logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # objects end at about 1.5 MiB, and a review may hold two
BODY_TIMEOUT_S: Final = 3.0
_DRAIN_S: Final = 5.0  # after SIGTERM, until the Service leads no new call here

_STATUS = {"wrong_media_type": 415, "too_large": 413, "body_timeout": 408}  # everything else is 400
_HEADERS = {"Cache-Control": "no-store", "Server": "logout-sidecar"}

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Certificate(Protocol):
    """The TLS settings, which may change while we serve."""

    def context(self) -> ssl.SSLContext: ...
    def watch(self) -> Awaitable[None]: ...


class Webhook:
    """The handler of every request."""

    def __init__(self, *, defaults: Settings, body_timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.is_draining = False
        self._defaults = defaults
        self._body_timeout_s = body_timeout_s

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.raw_path.partition("?")[0]:
            case "/mutate":
                return await self._mutate(request)
            case "/livez":
                return _answer(200, b"ok\n")
            case "/readyz":
                return _answer(503, b"draining\n") if self.is_draining else _answer(200, b"ok\n")
            case _:
                return _answer(404, b"there is nothing here\n")

    async def _mutate(self, request: web.BaseRequest) -> web.Response:
        if request.method != "POST":
            response = _answer(405, b"use POST\n")
            response.headers["Allow"] = "POST"
            return response
        try:
            _check_head(request)
            reviewed = review(await self._body(request), self._defaults)
        except BadReview as error:
            log.event(_logger, logging.WARNING, "admission_malformed", reason=error.reason)
            return _answer(_STATUS.get(error.reason, 400), f"{error} ({error.reason})\n".encode())
        log.event(
            _logger,
            logging.WARNING if reviewed.outcome == "refused" else logging.INFO,
            "admission",
            outcome=reviewed.outcome,
            reason=reviewed.reason,
            namespace=reviewed.namespace,
            name=reviewed.name,
            dry_run=reviewed.dry_run,
        )
        return _answer(200, reviewed.body, media_type="application/json")

    async def _body(self, request: web.BaseRequest) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise BadReview("too_large", "the body is larger than 8 MiB")
        except TimeoutError:
            raise BadReview("body_timeout", "the body did not arrive in time") from None
        except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
            raise BadReview("body_broken", "the body broke off or is not valid HTTP") from None
        return bytes(body)


def _check_head(request: web.BaseRequest) -> None:
    content_types = request.headers.getall("Content-Type", [])
    if len(content_types) != 1 or content_types[0].partition(";")[0].strip().lower() != "application/json":
        raise BadReview("wrong_media_type", "Content-Type must be application/json")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise BadReview("too_large", "the body is larger than 8 MiB")


def _answer(status: int, body: bytes, *, media_type: str = "text/plain") -> web.Response:
    return web.Response(status=status, body=body, headers=_HEADERS, content_type=media_type)


async def serve(
    *,
    listener: socket.socket,
    certificate: Certificate,
    runner: Callable[[Handler], web.BaseRunner],
    defaults: Settings,
    stopping: asyncio.Event,
    drain_s: float = _DRAIN_S,
) -> None:
    """Serve on the socket until it is time to stop. `runner` makes the HTTP server."""
    webhook = Webhook(defaults=defaults)
    async with contextlib.AsyncExitStack() as stack:
        served = runner(webhook)
        await served.setup()
        stack.push_async_callback(served.cleanup)
        await web.SockSite(served, listener, ssl_context=_renewing(certificate)).start()
        watch = asyncio.ensure_future(certificate.watch())
        stack.callback(watch.cancel)
        log.event(_logger, logging.INFO, "webhook_started", listen=str(listener.getsockname()))
        await stopping.wait()
        webhook.is_draining = True
        await asyncio.sleep(drain_s)
    log.event(_logger, logging.INFO, "stopped")


def _renewing(certificate: Certificate) -> ssl.SSLContext:
    """A context that gives each handshake the newest one: the server keeps the first for good."""
    context = certificate.context()
    context.sni_callback = functools.partial(_take_newest, certificate)
    return context


def _take_newest(certificate: Certificate, connection: ssl.SSLObject, _name: str | None, _old: ssl.SSLContext) -> None:
    """Called by OpenSSL after the client's hello, whether or not it names a server."""
    connection.context = certificate.context()
