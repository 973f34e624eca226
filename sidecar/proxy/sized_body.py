"""A request body of known length, cut out of the byte stream. The twin of `http1/chunked.py`: same four names.

It holds no bytes but those behind the body, and keeps no record of the content.
"""


class SizedBody:
    """Counts down. `rest`: what came behind the body; it belongs to the next request."""

    __slots__ = ("_missing", "done", "rest")

    trailers: tuple[()] = ()  # only a chunked body has them

    def __init__(self, length: int) -> None:
        self._missing = length
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The content in `data`, as pieces."""
        missing = self._missing
        self._missing = missing - len(data)
        if self._missing > 0:
            return [data] if data else []
        self.done = True
        if self._missing:
            self.rest, data = data[missing:], data[:missing]
        return [data]
