"""Where the parts live that chaos shares with other folders."""

import sys
from pathlib import Path

for shared in ("contracts", "system"):  # redis_places and bench_process
    sys.path.insert(0, str(Path(__file__).parents[1] / shared))
