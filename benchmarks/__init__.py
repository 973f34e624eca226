"""Measuring scripts, not part of the product."""

import sys
from pathlib import Path

# The sidecar that is installed, before the sources that lie here: `make bench` measures the compiled build.
_HERE = str(Path(__file__).parents[1])
if sys.path[0] in ("", _HERE):
    sys.path.append(sys.path.pop(0))
