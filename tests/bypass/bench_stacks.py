"""App stacks as they are: the real readers of cookies and sessions, asked whether a request is of a revoked session.

A `Stack` has one revoked session and one live one. `accepts` is the oracle: it gets what the sidecar would forward and
says whether the app would take it for the revoked session. Python's stacks are asked in this process, all others are
servers on loopback or children on a pipe, one for the whole run, so that a question takes a millisecond. What is not
installed is skipped, and the line names it.
"""

import base64
import contextlib
import functools
import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import IO, Any

import pytest

from sidecar.core.credentials import Carriers
from sidecar.core.profiles import Declared, Place, carriers_of
from sidecar.http1.request import RequestHead, build_request

HERE = Path(__file__).parent / "stacks"
JARS = Path("/usr/share/java")
REVOKED, LIVE = "r7k2mq9sxw4bn3tz6eyucp1vl8djfhga", "l3v5onqw8kztr2xcby7ms1ugde9fjha4"
JAVA_REVOKED, JAVA_LIVE = "0A1B2C3D4E5F60718293A4B5C6D7E8F9", "F9E8D7C6B5A4938271605F4E3D2C1B0A"

Accepts = Callable[[RequestHead], bool]


@dataclass(frozen=True)
class Stack:
    """One app stack with its session cookie. `beside` are cookies that have to travel with the session's."""

    name: str
    carriers: Carriers
    cookie: str
    revoked: str
    live: str
    accepts: Accepts
    beside: str = ""
    in_path: str = ""  # path parameter that carries the session as well
    in_query: str = ""
    say: Callable[..., list[bytes]] | None = None  # a server's answers to raw messages


# -- servers -------------------------------------------------------------------------------------------------------


class Server:
    """A server on loopback that answers `revoked` or `other` to raw requests."""

    def __init__(self, port: int, plain: str) -> None:
        """`plain` is the Cookie header of an honest request of the revoked session."""
        self._port = port
        self._plain = f"GET / HTTP/1.1\r\nHost: app\r\nCookie: {plain}\r\n\r\n".encode()

    def accepts(self, request: RequestHead) -> bool:
        """Asked on a new connection, and on one that has carried the session: the sidecar's are used by everybody."""
        message = build_request(request, request.lines)
        return b"revoked" in (*self.say(message), *self.say(self._plain, message)[1:])

    def say(self, *messages: bytes) -> list[bytes]:
        """The answers to some requests on one connection, up to the one after which the server closes it."""
        answers = []
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            for message in messages:
                connection.sendall(message)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                answers.append(answer.read())
                if answer.will_close:
                    break
        return answers


def program(name: str) -> str:
    """Where a program is; without it the test is skipped, and the line names the program."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextlib.contextmanager
def child(*command: str | Path, cwd: Path = HERE, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that ends when its standard input does."""
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | (env or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    line = stream.readline()
    assert line, "the process ended before it was ready"
    return line


# -- Node ----------------------------------------------------------------------------------------------------------

NODE = ("node cookie", "cookie-parser", "express-session", "cookie-session", "@fastify/cookie")


@functools.cache
def install_readers() -> None:
    """`npm ci`, once per checkout and lock file."""
    folder = HERE / "node"
    done, lock = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = [program("npm"), "ci", "--no-audit", "--no-fund"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, f"npm ci failed:\n{result.stdout}{result.stderr}"
    done.touch()


@contextlib.contextmanager
def node(_folder: Path) -> Iterator[dict[str, Stack]]:
    install_readers()
    with child(program("node"), "readers.js", cwd=HERE / "node") as process:
        found = {}
        for name, said in json.loads(line_of(process.stdout)).items():
            server = Server(said["port"], f"{said['cookie']}={said['revoked']}; {said['companions']}")
            carriers = carriers_of(["express"], [(cookie(said["cookie"]), None)])
            found[name] = Stack(
                name, carriers, said["cookie"], said["revoked"], said["live"], server.accepts, said["companions"]
            )
        yield found


# -- PHP -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def php(folder: Path) -> Iterator[dict[str, Stack]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for name, who in ((REVOKED, "revoked"), (LIVE, "live")):
        (folder / f"sess_{name}").write_text(f'who|s:{len(who)}:"{who}";')
    env = {"SESSIONS": str(folder), "REVOKED": REVOKED}
    with child(program("php"), "-S", f"127.0.0.1:{port}", "php_reader.php", env=env) as process:
        server = Server(port, f"PHPSESSID={REVOKED}")
        while True:
            assert process.poll() is None, "php ended before it was ready"
            with contextlib.suppress(ConnectionRefusedError):
                server.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                break
        carriers = carriers_of(["php"], [])
        yield {
            "php": Stack(
                "php", carriers, "PHPSESSID", REVOKED, LIVE, server.accepts, in_query="PHPSESSID", say=server.say
            )
        }


# -- Java ----------------------------------------------------------------------------------------------------------


def jars(*names: str) -> str:
    for name in names:
        if not (JARS / name).exists():
            pytest.skip(f"{name} is not installed")
    return ":".join(str(JARS / name) for name in names)


@contextlib.contextmanager
def tomcat(folder: Path) -> Iterator[dict[str, Stack]]:
    program("javac")
    path = jars("tomcat10-embed-core.jar", "tomcat10-annotations-api.jar")
    command = (program("java"), "-cp", path, "TomcatReader.java", folder, JAVA_REVOKED, JAVA_LIVE)
    with child(*command) as process:
        yield {"tomcat": _java("tomcat", int(line_of(process.stdout)), JAVA_REVOKED, JAVA_LIVE)}


@contextlib.contextmanager
def jetty(_folder: Path) -> Iterator[dict[str, Stack]]:
    program("javac")
    path = jars("jetty9-server.jar", "jetty9-http.jar", "jetty9-io.jar", "jetty9-util.jar", "servlet-api.jar")
    revoked, live = "node0" + REVOKED, "node0" + LIVE
    command = (program("java"), "-cp", path, "JettyReader.java", "node0", revoked, live)
    with child(*command) as process:
        port = int(line_of(process.stdout))
        for name in (revoked, live):
            Server(port, "").say(f"GET / HTTP/1.1\r\nHost: x\r\nMake-Session: {name}\r\n\r\n".encode())
        yield {"jetty": _java("jetty", port, f"{revoked}.node0", f"{live}.node0")}


def _java(name: str, port: int, revoked: str, live: str) -> Stack:
    accepts = Server(port, f"JSESSIONID={revoked}").accepts
    return Stack(name, carriers_of([name], []), "JSESSIONID", revoked, live, accepts, in_path="jsessionid")


# -- Ruby ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def rack(_folder: Path) -> Iterator[dict[str, Stack]]:
    if subprocess.run([program("ruby"), "-e", "require 'rack'"], capture_output=True, check=False).returncode:
        pytest.skip("rack is not installed")
    with child(program("ruby"), "rack_reader.rb") as process:

        def finds(line: bytes) -> bool:
            assert process.stdin is not None
            process.stdin.write(base64.b64encode(line).decode() + "\n")
            process.stdin.flush()
            found = json.loads(line_of(process.stdout))
            return any(map(base64.b64decode, pair) and pair == [_b64("_session_id"), _b64(REVOKED)] for pair in found)

        yield {"rack": Stack("rack", carriers_of(["rails"], []), "_session_id", REVOKED, LIVE, joined(finds))}


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# -- Python --------------------------------------------------------------------------------------------------------

JOINERS = (b"; ", b";", b", ", b",")  # what WSGI servers and gateways put between several Cookie lines


def joined(finds: Callable[[bytes], bool]) -> Accepts:
    """The oracle of a stack that sees one Cookie value: however its server makes one of several lines."""

    def accepts(request: RequestHead) -> bool:
        lines = request.cookies
        values = dict.fromkeys((*lines, *(joiner.join(lines) for joiner in JOINERS)))
        return any(map(finds, values))

    return accepts


def environ(line: bytes) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "SERVER_NAME": "app",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
        "HTTP_COOKIE": line.decode("latin-1"),
    }


def _simple_cookie(line: bytes) -> bool:
    try:
        found = SimpleCookie(line.decode("latin-1")).get("sid")
    except CookieError:
        return False
    return found is not None and found.value == REVOKED


def _werkzeug(line: bytes) -> bool:
    from werkzeug.wrappers import Request

    return REVOKED in Request(environ(line)).cookies.getlist("sid")


def _django(line: bytes) -> bool:
    from django.http import parse_cookie

    text = line.decode("latin-1").encode("latin-1").decode("utf-8", "replace")  # get_str_from_wsgi
    return parse_cookie(text).get("sessionid", "").lower() == REVOKED  # as a data base without regard to case finds it


def _starlette(request: RequestHead) -> bool:
    from starlette.requests import Request

    headers = [(b"cookie", line) for line in request.cookies]
    return Request({"type": "http", "headers": headers}).cookies.get("sid") == REVOKED


def _aiohttp(line: bytes) -> bool:
    from aiohttp._cookie_helpers import parse_cookie_header  # what `request.cookies` is made with

    found = dict(parse_cookie_header(line.decode("utf-8", "surrogateescape")))
    return "sid" in found and found["sid"].value == REVOKED


def _flask() -> Stack:
    import flask
    from werkzeug.test import create_environ

    app = flask.Flask("app")
    app.secret_key = "made up for tests"
    serializer = app.session_interface.get_signing_serializer(app)
    assert serializer is not None

    def finds(line: bytes) -> bool:
        request = app.request_class(create_environ() | {"HTTP_COOKIE": line.decode("latin-1")})
        found = app.session_interface.open_session(app, request)
        return found is not None and found.get("who") == "revoked"

    revoked, live = (str(serializer.dumps({"who": who})) for who in ("revoked", "live"))
    return Stack("flask", carriers_of(["flask"], []), "session", revoked, live, joined(finds))


@contextlib.contextmanager
def python(_folder: Path) -> Iterator[dict[str, Stack]]:
    generic = carriers_of(["generic"], [(cookie("sid"), None)])
    plain = {"SimpleCookie": joined(_simple_cookie), "werkzeug": joined(_werkzeug)}
    plain |= {"starlette": _starlette, "aiohttp": joined(_aiohttp)}
    stacks = {name: Stack(name, generic, "sid", REVOKED, LIVE, accepts) for name, accepts in plain.items()}
    django = Stack("django", carriers_of(["django"], []), "sessionid", REVOKED, LIVE, joined(_django))
    yield stacks | {"django": django, "flask": _flask()}


def cookie(name: str) -> Declared:
    return Declared(Place.COOKIE, name)


PYTHON = ("SimpleCookie", "werkzeug", "starlette", "aiohttp", "django", "flask")
FAMILIES: tuple[tuple[tuple[str, ...], Callable[[Path], Any]], ...] = (
    (PYTHON, python),
    (NODE, node),
    (("php",), php),
    (("tomcat",), tomcat),
    (("jetty",), jetty),
    (("rack",), rack),
)
NAMES = tuple(name for names, _ in FAMILIES for name in names)
