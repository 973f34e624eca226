"""The health command against a real ops listener, and against everything that is none."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from aiohttp import web

from sidecar.cli import main
from sidecar.control.health import problem
from sidecar.control.ops import ops_runner


@pytest.fixture
async def ops() -> AsyncIterator[str]:
    """A listener that lives and is not ready."""
    runner = ops_runner(gates={"loaded": lambda: "never"}, shown={})
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "found"),
    [("/livez", None), ("/readyz", "answered 503"), ("/readyz?verbose", "answered 503"), ("", "answered 404")],
)
async def test_only_200_is_well(ops: str, path: str, found: str | None) -> None:
    assert await asyncio.to_thread(problem, ops + path) == found


@pytest.mark.parametrize(
    "url", ["", "livez", "https://127.0.0.1/livez", "http:///livez", "http://[", "http://h:port/", "http://h/a b"]
)
def test_what_is_no_address_is_said_to_be_none(url: str) -> None:
    assert problem(url) == "not an address such as http://127.0.0.1:4181/livez"


def test_nobody_listens(free_port: Callable[[], int]) -> None:
    found = problem(f"http://127.0.0.1:{free_port()}/livez")
    assert found is not None
    assert found.startswith("no answer")


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[str]:
    """Somebody who answers these bytes and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as done:
        connections = [done]

        def serve() -> None:
            connection, _ = server.accept()
            connections.append(connection)
            connection.recv(4096)
            connection.sendall(request.param)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/livez"
        thread.join(5)
        connections[-1].close()


@pytest.mark.parametrize("peer", [b"SSH-2.0-OpenSSH_9.2\r\n"], indirect=True)
def test_another_protocol_is_not_well(peer: str) -> None:
    assert problem(peer) == "the answer is not HTTP"


@pytest.mark.parametrize("peer", [b""], indirect=True)
def test_a_process_that_hangs_is_not_well(peer: str) -> None:
    assert problem(peer, timeout_s=0.05) == "no answer: timed out"


async def test_the_command_exits_with_0_or_1(ops: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["health", "--url", f"{ops}/livez"]) == 0
    assert capsys.readouterr() == ("", "")
    assert await asyncio.to_thread(main, ["health", "--url", f"{ops}/readyz"]) == 1
    assert capsys.readouterr() == ("", f"logout-sidecar: {ops}/readyz: answered 503\n")
