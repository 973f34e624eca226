"""The data plane of `tests/proxy`, attacked."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))  # where the bench and the wires live

import bench_stacks
from bench_fixtures import open_stage, stage

__all__ = ["open_stage", "stage"]


@pytest.fixture(scope="session")
def open_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], bench_stacks.Stack]]:
    """A function that opens an app stack by name, once for the whole run."""
    opened: dict[str, bench_stacks.Stack] = {}
    with contextlib.ExitStack() as stack:

        def opener(name: str) -> bench_stacks.Stack:
            if name not in opened:
                family = next(family for names, family in bench_stacks.FAMILIES if name in names)
                opened.update(stack.enter_context(family(tmp_path_factory.mktemp("stack"))))
            return opened[name]

        yield opener


@pytest.fixture(params=bench_stacks.NAMES)
def app(request: pytest.FixtureRequest, open_app: Callable[[str], bench_stacks.Stack]) -> bench_stacks.Stack:
    """Each app stack in turn."""
    return open_app(request.param)
