"""A credential that is cut into several cookies.

ASP.NET Core and OWIN write `name=chunks-2`, `nameC1=...`, `nameC2=...`; express-openid-connect writes `name.0=...`,
`name.1=...` and takes what there is. The credential is what the pieces make together: a piece alone means nothing,
because whoever holds the value may cut it elsewhere, and `chunks-2` is in every browser.
"""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable

MAX_WAYS = 32  # to put the pieces of a request together
_COUNT = re.compile(rb"chunks[-:]0*([0-9]{1,3})")
_UNCOUNTED = b"."  # the mark of stacks that do not say how many pieces there are
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,2}")  # of a piece that such a stack has made


class Chunks:
    """The pieces of one cookie; `mark` stands between its name and the number of a piece."""

    __slots__ = ("_is_counted", "_piece", "_sign", "name")

    def __init__(self, name: bytes, mark: bytes) -> None:
        self.name = name.lower()
        self._is_counted = mark != _UNCOUNTED
        self._sign = b"chunks" if self._is_counted else self.name + mark
        number = rb"0*([0-9]{1,3})" if self._is_counted else rb"([0-9]+)"
        self._piece = re.compile(re.escape((name + mark).lower()) + number)

    def may_be_in(self, line: bytes) -> bool:
        """Whether it is worth to look for pieces in a plain Cookie line."""
        return self._sign in line.lower()

    def joined(self, cookies: Iterable[tuple[bytes, bytes]]) -> list[bytes] | None:
        """Every value that canonical cookies make together; None when there are too many ways.

        Where they are counted, a piece that is missing makes the app read none of it.
        """
        return self._counted(cookies) if self._is_counted else self._present(cookies)

    def _present(self, cookies: Iterable[tuple[bytes, bytes]]) -> list[bytes] | None:
        pieces: dict[int, dict[bytes, None]] = defaultdict(dict)
        for name, value in cookies:
            if piece := self._piece.fullmatch(name.lower()):
                if not _NUMBER.fullmatch(piece[1]):
                    return None  # `.00` beside `.0` is one more piece to the app, and no app has made it
                pieces[int(piece[1])][value] = None
        if math.prod(map(len, pieces.values())) > MAX_WAYS:
            return None
        joined = map(b"".join, itertools.product(*(pieces[number] for number in sorted(pieces))))
        return [value for value in joined if value]

    def _counted(self, cookies: Iterable[tuple[bytes, bytes]]) -> list[bytes] | None:
        counts: set[int] = set()
        pieces: dict[int, dict[bytes, None]] = defaultdict(dict)
        for name, value in cookies:
            lowered = name.lower()
            if lowered == self.name and (count := _COUNT.fullmatch(value)):
                counts.add(int(count[1]))
            elif piece := self._piece.fullmatch(lowered):
                pieces[int(piece[1])][value] = None
        found: dict[bytes, None] = {}
        for total in counts:
            needed = [pieces.get(number, {}) for number in range(1, total + 1)]
            if math.prod(map(len, needed)) + len(found) > MAX_WAYS:
                return None
            found |= dict.fromkeys(map(b"".join, itertools.product(*needed)))
        return [value for value in found if value]
