"""The comparison: what one writes in an afternoon with aiohttp, server and client session. No rules, no metrics."""

import sys

import aiohttp
import uvloop
from aiohttp import web

_HOP_BY_HOP = {"connection", "keep-alive", "te", "transfer-encoding", "upgrade", "content-length", "host"}


async def _proxy(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    headers["Host"] = request.host
    headers["X-Forwarded-For"] = request.remote or ""
    session: aiohttp.ClientSession = request.app["session"]
    async with session.request(
        request.method, request.app["upstream"] + request.path_qs, headers=headers, data=request.content
    ) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        response.content_length = answer.content_length
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        return response


async def _application(upstream: str) -> web.Application:
    app = web.Application()
    app["upstream"] = upstream
    app["session"] = aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=512)
    )
    app.router.add_route("*", "/{path:.*}", _proxy)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(_application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
