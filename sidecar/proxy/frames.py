"""Where WebSocket frames end (RFC 6455 section 5.2), and the one frame that the sidecar ever writes.

A tunnel passes bytes and judges nothing. But a close frame may only be put between two frames, so the lengths of what
the app sends are followed: a few comparisons for a read, and no byte is kept but those of an incomplete frame head.
"""

from typing import Final

GOING_AWAY: Final = 1001  # RFC 6455 section 7.4.1
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013  # registered by IANA after the RFC

_CLOSE: Final = 0x8
_MOST_A_READ: Final = 512  # frames; beyond that it is not worth the time, and the tunnel can only be cut


def close_frame(code: int) -> bytes:
    """A close frame as a server sends it: unmasked, without a reason text."""
    return bytes((0x80 | _CLOSE, 2)) + code.to_bytes(2, "big")


class Frames:
    """Follows one direction of a tunnel."""

    __slots__ = ("_head", "_is_lost", "_missing", "has_close")

    def __init__(self) -> None:
        self._head = b""  # of a frame whose head is not complete
        self._missing = 0  # bytes of the frame that is under way
        self._is_lost = False
        self.has_close = False  # a close frame was among them: no other may follow (RFC 6455 section 5.5.1)

    @property
    def is_between(self) -> bool:
        """Whether a frame may be put in here."""
        return not (self._missing or self._head or self._is_lost or self.has_close)

    def feed(self, data: bytes) -> None:
        """These bytes have passed."""
        missing = self._missing - len(data)
        if missing >= 0:
            self._missing = missing
        elif not self._is_lost:
            self._read(self._head + data, self._missing)

    def _read(self, data: bytes, position: int) -> None:
        size = len(data)
        for _ in range(_MOST_A_READ):
            if position >= size:
                self._head, self._missing = b"", position - size
                return
            end = _end_of_frame(data, position)
            if not end:
                self._head, self._missing = data[position:], 0
                return
            if data[position] & 0xF == _CLOSE:
                self.has_close = True
            position = end
        self._is_lost = True


def _end_of_frame(data: bytes, position: int) -> int:
    """Where the frame that begins here ends; 0 when its head is not complete."""
    start = position + 2
    if start > len(data):
        return 0
    length = data[position + 1] & 0x7F
    if length > 125:  # 126: two more bytes hold the length; 127: eight
        wide = start + (2 if length == 126 else 8)
        if wide > len(data):
            return 0
        length, start = int.from_bytes(data[start:wide], "big"), wide
    return start + length + (4 if data[position + 1] & 0x80 else 0)  # masked: a server never is, but it may be wrong
