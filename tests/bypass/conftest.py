"""The data plane of `tests/proxy`, attacked."""

import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))  # where the bench and the wires live

import bench_stacks
from bench_plane import Stage
from bench_plane import stage as new_stage
from bench_stacks import Stack


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A data plane with the usual settings."""
    async with new_stage() as opened:
        yield opened


@pytest.fixture
async def open_stage() -> AsyncIterator[Callable[..., Any]]:
    """A function that opens a data plane with other settings: `stage = await open_stage(action="strip")`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opener(**settings: Any) -> Stage:
            return await stack.enter_async_context(new_stage(**settings))

        yield opener


FAMILIES = (
    (bench_stacks.PYTHON, lambda *_: contextlib.nullcontext(bench_stacks.python())),
    (bench_stacks.NODE, lambda *_: bench_stacks.node()),
    (("php",), bench_stacks.php),
    (("tomcat",), lambda folder, _: bench_stacks.tomcat(folder)),
    (("jetty",), lambda *_: bench_stacks.jetty()),
    (("rack",), lambda *_: bench_stacks.rack()),
)


@pytest.fixture(scope="session")
def open_family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stack]]:
    """A function that opens an app stack of `bench_stacks` by name, once for the whole run."""
    opened: dict[str, Stack] = {}
    with contextlib.ExitStack() as stack:

        def opener(name: str) -> Stack:
            if name not in opened:
                start = next(start for names, start in FAMILIES if name in names)
                opened.update(stack.enter_context(start(tmp_path_factory.mktemp("stack"), free_loopback_port())))
            return opened[name]

        yield opener


@pytest.fixture(params=bench_stacks.NAMES)
def app(request: pytest.FixtureRequest, open_family: Callable[[str], Stack]) -> Stack:
    """Each app stack in turn."""
    return open_family(request.param)


def free_loopback_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
