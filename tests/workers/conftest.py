"""One bench for each test; see `bench_line.py`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bench_line import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.stop()
