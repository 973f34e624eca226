"""Which of its two builds this is: compiled, as in the image, or interpreted, as from the sources (decision 032)."""

from typing import Final

from sidecar import clock

# Modules are compiled all together or not at all, so that one speaks for the rest.
IS_COMPILED: Final = not str(clock.__file__).endswith(".py")
