"""What is awaited on a connection to the app."""

import enum


class Mode(enum.Enum):
    """What the next bytes from the app are."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    HELD = enum.auto()  # the head is with the exchange; the body waits
    ENDED = enum.auto()  # the same, and the app has ended the connection behind what is here
    LOST = enum.auto()  # the same, and the connection is gone without such an end
    DOUBTFUL = enum.auto()  # complete, but the head announced a body that must not come, and may come all the same
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()
    TUNNEL = enum.auto()
    CLOSED = enum.auto()
