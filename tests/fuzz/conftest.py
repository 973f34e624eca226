"""The data plane of `tests/proxy` between a fuzzing client and a fuzzing app."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))  # where the bench and the wires live


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
