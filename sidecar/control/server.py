"""The HTTP server under both control listeners: aiohttp's low-level server, with its habits corrected.

No access log, no decompression of requests, no version in `Server`, no traceback and no HTML in an answer, nothing kept
by a cache. Handlers see the target as it came: there is no router that would decode or normalise a path (case L37).
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from sidecar import log

logger = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SHUTDOWN_S = 2.0
LINGER_S = 0.5  # how long the rest of a refused body is read and thrown away, so that the client sees the answer
_HEADERS = {"Cache-Control": "no-store", "Server": "logout-sidecar"}


def answer(status: int, body: bytes = b"", *, media_type: str = "text/plain", allow: str | None = None) -> web.Response:
    """A complete answer that no cache keeps (Back-Channel Logout 1.0 section 2.8; trap A5)."""
    headers = _HEADERS | ({"Allow": allow} if allow else {})
    if not body:
        return web.Response(status=status, headers=headers)
    return web.Response(status=status, body=body, content_type=media_type, headers=headers)


def error_answer(status: int, error: str, description: str, *, allow: str | None = None) -> web.Response:
    """The JSON that section 2.8 describes (RFC 6749 section 5.2)."""
    body = json.dumps({"error": error, "error_description": description}).encode()
    return answer(status, body, media_type="application/json", allow=allow)


def routed(routes: Mapping[str, Handler]) -> Handler:
    """A handler that compares the path byte by byte. The query chooses nothing."""

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        handler = routes.get(request.raw_path.partition("?")[0])
        if handler is None:
            return error_answer(404, "not_found", "there is nothing here")
        return await handler(request)

    return dispatch


def runner(handler: Handler) -> web.ServerRunner:
    """What an aiohttp site (Unix socket or TCP) is made from. Call it inside the running loop."""
    return web.ServerRunner(_Server(handler), shutdown_timeout=SHUTDOWN_S)


class _Connection(web.RequestHandler):
    """One connection. aiohttp's own error pages carry versions and log tracebacks of what strangers send."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's words quote the bytes that it could not read
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")  # aiohttp drops the connection
        if status >= 500:  # our own fault: shown to the operator, never to the peer
            logger.error("control_fault", exc_info=exc)
            response = error_answer(status, "server_error", "internal error")
        else:
            # Scanners must not fill the log (reference case 195).
            log.event(logger, logging.DEBUG, "control_malformed_request", status=status)
            response = error_answer(status, "invalid_request", "not a valid HTTP request")
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own way of switching it off
            auto_decompress=False,  # trap A3: a bomb must not go off before it is refused
            lingering_time=LINGER_S,
        )
