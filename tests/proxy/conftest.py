"""Every test of this folder runs on both event loops, with a data plane of its own."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop
from bench_fixtures import open_stage, stage

__all__ = ["open_stage", "stage"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
