"""An app with everything that a page of today has: assets of all kinds, a WebSocket, an event stream, uploads.

`/login?sid=...&token=...` sets the cookies that it is told; they are all of its login. Nothing is checked here: whoever
gets to it, gets in. Usage: mixed_app.py PORT. Ends when its standard input does, if that is a pipe.
"""

import asyncio
import contextlib
import gzip
import hashlib
import os
import stat
import sys
import threading

from aiohttp import WSMsgType, web

COUNT = 50  # assets of a page
KINDS = ("js", "css", "png", "woff2")
TYPES = {"js": "text/javascript", "css": "text/css", "png": "image/png", "woff2": "font/woff2"}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
_TICK_S = 0.05
_PIECE = 16 * 1024


def names() -> list[str]:
    return [f"{number}.{KINDS[number % 4]}" for number in range(COUNT)]


def content(name: str) -> bytes:
    number, kind = name.split(".")
    if kind == "png":
        return PNG
    if kind == "js":
        return f"loaded.push({number});".encode().ljust(20_000 + int(number))
    if kind == "css":
        return f".c{number} {{ color: rgb({number}, 0, 0) }}".encode().ljust(10_000)
    return bytes(1000)  # no font, but what is asked for as one


PAGE = """<!DOCTYPE html><html lang="en"><head><title>Mixed</title>{links}</head><body><p id="who">in</p>{images}
<script>
const loaded = [], seen = {{echoes: 0, ticks: 0, socketClosed: 0, socketCode: 0, streamClosed: 0, fonts: 0}};
</script>{scripts}<script>
const socket = new WebSocket("ws://" + location.host + "/socket");
socket.binaryType = "arraybuffer";
socket.onopen = () => setInterval(() => socket.readyState === 1 && socket.send("x".repeat(1000)), 20);
socket.onmessage = () => seen.echoes++;
socket.onclose = event => {{ seen.socketClosed = Date.now(); seen.socketCode = event.code; }};
const stream = new EventSource("/events");
stream.onmessage = () => seen.ticks++;
stream.onerror = () => {{ seen.streamClosed ||= Date.now(); }};
for (const name of {fonts}) fetch("/assets/" + name).then(a => a.arrayBuffer()).then(() => seen.fonts++);
</script></body></html>"""


def page() -> str:
    of = {kind: [f"/assets/{name}" for name in names() if name.endswith(kind)] for kind in KINDS}
    return PAGE.format(
        links="".join(f'<link rel="stylesheet" href="{url}">' for url in of["css"]),
        images="".join(f'<img src="{url}" alt="">' for url in of["png"]),
        scripts="".join(f'<script src="{url}"></script>' for url in of["js"]),
        fonts=[url.removeprefix("/assets/") for url in of["woff2"]],
    )


routes = web.RouteTableDef()


@routes.get("/login")
async def login(request: web.Request) -> web.Response:
    answer = web.Response(text="<p id='who'>in</p>", content_type="text/html")
    answer.set_cookie("JSESSIONID", request.query["sid"], httponly=True)
    answer.set_cookie("id_token", request.query["token"], httponly=True)
    return answer


@routes.get("/")
async def home(_request: web.Request) -> web.Response:
    return web.Response(text=page(), content_type="text/html", headers={"Cache-Control": "no-store"})


@routes.get("/assets/{name}")
async def asset(request: web.Request) -> web.StreamResponse:
    """By turns: with a length and an ETag, chunked, compressed by the app."""
    name = request.match_info["name"]
    body, way = content(name), int(name.split(".")[0]) % 3
    headers = {"Content-Type": TYPES[name.split(".")[1]], "Cache-Control": "no-cache"}
    if way == 0:
        headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)
    if way == 1:
        return await _chunked(request, body, headers)
    return web.Response(body=gzip.compress(body), headers=headers | {"Content-Encoding": "gzip"})


async def _chunked(request: web.Request, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
    answer = web.StreamResponse(headers=headers)
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    for start in range(0, len(body), _PIECE):
        await answer.write(body[start : start + _PIECE])
    await answer.write_eof()
    return answer


@routes.get("/bytes/{size}")
async def sized(request: web.Request) -> web.Response:
    return web.Response(body=bytes(int(request.match_info["size"])))


@routes.get("/chunks/{size}")
async def chunks(request: web.Request) -> web.StreamResponse:
    return await _chunked(request, bytes(int(request.match_info["size"])), {})


@routes.post("/upload")
async def upload(request: web.Request) -> web.Response:
    size = 0
    async for piece in request.content.iter_any():
        size += len(piece)
    return web.Response(text=str(size))


@routes.get("/events")
async def events(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await answer.write(b"data: tick\n\n")
            await asyncio.sleep(_TICK_S)
    return answer


@routes.get("/socket")
async def socket(request: web.Request) -> web.WebSocketResponse:
    """Says back what it hears, and something of its own now and then."""
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        if message.type is WSMsgType.TEXT:
            await answer.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await answer.send_bytes(message.data)
    return answer


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=end_with_parent, daemon=True).start()
    app = web.Application(client_max_size=0)
    app.add_routes(routes)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, handler_cancellation=True)
