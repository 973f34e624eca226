"""The data plane of `tests/proxy`, attacked."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))  # where the bench and the wires live

from bench_fixtures import open_stage, stage

__all__ = ["open_stage", "stage"]
