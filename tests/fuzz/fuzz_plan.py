"""What one round of the fuzzer does, decided before it begins: every byte, pause and break of both ends.

A plan follows from its seed alone and is plain data, so that it can be replayed, printed and made smaller. `planned`
follows a grammar of HTTP/1.1; most conversations are proper, because only behind a proper beginning the odd parts of a
proxy are reached. Each request has a tag in its target and in `X-Id`; the app answers with the same tag.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from fuzz_words import (
    ANSWER_FIELDS,
    BIG,
    BROWSERS,
    CONNECTION,
    INTERIM,
    METHODS,
    MORE,
    NASTY,
    SIZES,
    STATUSES,
    WITH_BODY,
)

HOST = b"app.example"
LIVE, DEAD, FREE, DOOMED = b"live", b"dead", b"free", b"doomed"  # whose cookies: bound, revoked, unbound, see `Message`


@dataclass(frozen=True)
class Edit:
    """Bytes that are not as the grammar says."""

    at: int
    drop: int
    insert: bytes


@dataclass(frozen=True)
class Answer:
    """What the app does with one request."""

    tag: bytes
    status: int = 200
    framing: str = "length"  # or chunked, close
    size: int = 10
    chunk: int = 1000
    minor: int = 1
    interim: tuple[bytes, ...] = ()  # whole 1xx heads
    fields: tuple[bytes, ...] = ()
    trailers: tuple[bytes, ...] = ()
    is_early: bool = False  # before the request's body was read
    is_absent: bool = False  # never
    breaks_at: float = 1.0  # the part of it that is sent before the app breaks off
    breaks_by: str = "rst"  # or fin
    junk: bytes = b""  # behind it, in the same segment
    closes: str = ""  # behind it: "said", or "silently"
    edits: tuple[Edit, ...] = ()
    down: bytes = b""  # behind a 101

    @property
    def is_broken(self) -> bool:
        return self.breaks_at < 1

    @property
    def is_proper(self) -> bool:
        """The client has a right to get it."""
        return not (self.is_broken or self.is_absent or self.edits)

    def body(self) -> bytes:
        return ((self.tag + b".") * (self.size // (len(self.tag) + 1) + 1))[: self.size]

    def wire(self, method: bytes) -> bytes:
        """All its bytes, without the junk."""
        lines = [b"HTTP/1.%d %d Fine" % (self.minor, self.status), b"X-Echo: " + self.tag, *self.fields]
        is_bare = method == b"HEAD" or self.status in (204, 304)
        body = b"" if is_bare else self.body()
        if self.status == 101:
            lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
            body = self.down
        elif self.framing == "length" and self.status != 204:
            lines.append(b"Content-Length: %d" % self.size)
        elif self.framing == "chunked" and self.status != 204:
            lines.append(b"Transfer-Encoding: chunked")
            body = b"" if is_bare else chunked(body, self.chunk, self.trailers)
        if self.closes == "said":
            lines.append(b"Connection: close")
        data = b"".join((*self.interim, b"\r\n".join((*lines, b"", b"")), body))
        return edited(data, self.edits)


@dataclass(frozen=True)
class Message:
    """One request as the client sends it. The session of a doomed cookie ends at the provider before `is_late` ones."""

    tag: bytes
    method: bytes
    data: bytes
    answer: Answer
    cookie: bytes = b""
    is_last: bool = False  # no other request is answered behind it
    is_late: bool = False
    edits: tuple[Edit, ...] = ()
    tunnel: bytes = b""  # what follows when the app switches

    @property
    def wire(self) -> bytes:
        return edited(self.data, self.edits) + self.tunnel


@dataclass(frozen=True)
class Connection:
    """One client connection. `seed` decides about segments and pauses."""

    number: int
    seed: int
    messages: tuple[Message, ...]
    leaves_at: float = 1.0  # the part of it that is sent before the client leaves
    leaves_by: str = "close"  # or rst, fin: the sending side only
    is_slow: bool = False  # does not read at first

    @property
    def is_honest(self) -> bool:
        return self.leaves_at == 1 and not any(message.edits for message in self.messages)


@dataclass(frozen=True)
class Plan:
    """One round. `most`: connections to the app at one time."""

    seed: str
    connections: tuple[Connection, ...] = field(default=())
    most: int = 512

    @property
    def answers(self) -> dict[bytes, Answer]:
        return {message.tag: message.answer for each in self.connections for message in each.messages}


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    for edit in edits:
        at = min(edit.at, len(data))
        data = data[:at] + edit.insert + data[at + edit.drop :]
    return data


def chunked(body: bytes, size: int, trailers: Sequence[bytes] = (), extension: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = [b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces]
    return b"".join((*chunks, b"0\r\n", *(line + b"\r\n" for line in trailers), b"\r\n"))


def segments(data: bytes, chance: random.Random) -> Iterator[tuple[bytes, float]]:
    """The data in pieces, each with the pause behind it in seconds."""
    style = chance.choice(("whole", "whole", "halves", "drops", "bytes"))
    most = {"whole": len(data), "halves": len(data) // 2 + 1, "drops": 200, "bytes": 3}[style]
    start = pieces = 0
    while start < len(data):
        size = chance.randint(1, max(1, most)) if pieces < 40 else len(data)  # in the end all of it
        yield data[start : start + size], chance.choice((0, 0, 0, 0.001, 0.003))
        start, pieces = start + size, pieces + 1


def planned(seed: str) -> Plan:
    """The plan of this seed."""
    chance = random.Random(seed)  # of a str: the same in every process
    number = chance.randint(1, 24)
    connections = tuple(_connection(chance, f"{index}".encode(), index) for index in range(number))
    return Plan(seed, connections, most=chance.choice((512, 512, 3)))


def _connection(chance: random.Random, prefix: bytes, number: int) -> Connection:
    count = chance.choice((1, 1, 2, 3, 5, 9))
    cookie = chance.choice((b"", LIVE, LIVE, DEAD, FREE, DOOMED))
    doom_from = chance.randrange(count + 1)
    messages = []
    for index in range(count):
        tag = b"%b-%d" % (prefix, index)
        mine = cookie if cookie is DOOMED or chance.random() < 0.7 else chance.choice((b"", LIVE, DEAD, FREE))
        is_late = cookie is DOOMED and index >= doom_from
        messages.append(_message(chance, tag, mine, is_late=is_late))
        if messages[-1].answer.status == 101:
            break
    connection = Connection(number, chance.randrange(1 << 30), tuple(messages), is_slow=chance.random() < 0.1)
    what = chance.random()
    if what < 0.3:
        return _spoilt(chance, connection)
    if what < 0.45:
        by = chance.choice(("close", "rst", "fin"))
        return replace(connection, leaves_at=chance.random(), leaves_by=by)
    return connection


def _spoilt(chance: random.Random, connection: Connection) -> Connection:
    at = chance.randrange(len(connection.messages))
    message = connection.messages[at]
    edits = tuple(_edit(chance, message.data) for _ in range(chance.choice((1, 1, 2, 3))))
    messages = (*connection.messages[:at], replace(message, edits=edits), *connection.messages[at + 1 :])
    return replace(connection, messages=messages)


def _edit(chance: random.Random, data: bytes) -> Edit:
    at = chance.randrange(min(len(data), chance.choice((30, 300, 3000))))
    ends = [index for index in range(len(data[:1000])) if data.startswith(b"\r\n", index)]
    kind = chance.randrange(5)
    if kind == 0:
        return Edit(at, chance.randint(1, 3), b"")
    if kind == 1:
        return Edit(at, 1, bytes([chance.randrange(256)]))
    if kind == 2:
        return Edit(at, 0, data[at : at + chance.randint(1, 40)])
    if kind == 3 and ends:
        return Edit(chance.choice(ends), 0, chance.choice(NASTY))
    return Edit(at, chance.choice((0, 0, 1)), chance.choice(NASTY))


def _message(chance: random.Random, tag: bytes, cookie: bytes, *, is_late: bool) -> Message:
    if chance.random() < 0.06:
        return _upgrade(chance, tag, cookie, is_late=is_late)
    method, minor = chance.choice(METHODS), 0 if chance.random() < 0.1 else 1
    connection = chance.choice(CONNECTION) if chance.random() < 0.25 else b""
    lines = [b"X-Id: " + tag, *chance.choice(BROWSERS), *_cookie(tag, cookie)]
    lines += chance.sample(MORE, chance.choice((0, 0, 1, 3)))
    lines += [b"Connection: " + connection] if connection else []
    framing, body = _body(chance, method, minor, tag)
    lines += framing
    if body and chance.random() < 0.15:
        lines.append(b"Expect: 100-continue")
    chance.shuffle(lines)
    names = [line.partition(b":")[0].lower() for line in lines]
    lines = [line for index, line in enumerate(lines) if names[index] == b"cookie" or names[index] not in names[:index]]
    head = b"\r\n".join((_line(chance, method, tag, minor), b"Host: " + HOST, *lines, b"", b""))
    stays = b"close" not in connection.lower() if minor else connection.startswith(b"keep-alive")
    return Message(tag, method, head + body, _answer(chance, tag, method), cookie, not stays, is_late)


def _line(chance: random.Random, method: bytes, tag: bytes, minor: int) -> bytes:
    path = chance.choice((b"/r/%b",) * 5 + (b"/r/%b?a=b&c=%%zz", b"/x;p=1//%%2e%%2e/%b", b"//%b", b'/"<>{}|\\^`%b'))
    origin = chance.choice((b"",) * 9 + (b"http://" + HOST,))
    return b"%b %b%b HTTP/1.%d" % (method, origin, path % tag, minor)


def _cookie(tag: bytes, cookie: bytes) -> list[bytes]:
    value = b"doomed-" + tag.partition(b"-")[0] if cookie is DOOMED else cookie
    return [b"Cookie: theme=dark; JSESSIONID=" + value] if cookie else []


def _body(chance: random.Random, method: bytes, minor: int, tag: bytes) -> tuple[list[bytes], bytes]:
    if chance.random() > (0.85 if method in WITH_BODY else 0.05):
        return [], b""
    size = BIG if chance.random() < 0.03 else chance.choice(SIZES)
    body = ((tag + b"\r\n") * (size // (len(tag) + 2) + 1))[:size]
    if minor == 1 and chance.random() < 0.5:
        trailers = chance.choice(((), (), (b"X-Sum: 1", b"Cookie: JSESSIONID=dead"), (b"Content-Length: 3",)))
        each, extension = chance.choice(((7, b""), (1000, b""), (1000, b";a=b"), (100_000, b";a;b=c")))
        return [b"Transfer-Encoding: chunked"], chunked(body, each, trailers, extension)
    return [b"Content-Length: %d" % size], body


def _upgrade(chance: random.Random, tag: bytes, cookie: bytes, *, is_late: bool) -> Message:
    head = [
        b"GET /r/%b HTTP/1.1" % tag,
        b"Host: " + HOST,
        b"X-Id: " + tag,
        *_cookie(tag, cookie),
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"",
        b"",
    ]
    data, declined = b"\r\n".join(head), _answer(chance, tag, b"GET")
    if chance.random() < 0.4:
        return Message(tag, b"GET", data, declined, cookie, is_late=is_late)
    down, up = (b"\x81" + chance.randbytes(chance.choice((1, 100, 70_000))) for _ in range(2))
    answer = Answer(tag, 101, "close", down=down, is_early=True)
    return Message(tag, b"GET", data, answer, cookie, is_last=True, is_late=is_late, tunnel=up)


def _answer(chance: random.Random, tag: bytes, method: bytes) -> Answer:
    answer = Answer(
        tag,
        status=chance.choice(STATUSES),
        framing=chance.choice(("length", "length", "length", "chunked", "chunked", "close")),
        size=BIG if chance.random() < 0.03 else chance.choice(SIZES),
        chunk=chance.choice((5, 1000, 100_000)),
        interim=chance.choice(((),) * 9 + (INTERIM[:1], INTERIM, INTERIM[1:])),
        fields=tuple(chance.sample(ANSWER_FIELDS, chance.choice((0, 1, 2)))),
        is_early=chance.random() < 0.1,
    )
    if answer.framing == "chunked":
        answer = replace(answer, trailers=chance.choice(((), (), (b"X-Sum: 1", b"Set-Cookie: JSESSIONID=x"))))
    elif chance.random() < 0.1:
        answer = replace(answer, minor=0)
    return _odd(chance, answer, method)


def _odd(chance: random.Random, answer: Answer, method: bytes) -> Answer:
    """Three in ten answers are not as they should be."""
    what = chance.randrange(40)
    if what < 5:
        return replace(answer, breaks_at=chance.random() ** 0.5 * 0.999, breaks_by=chance.choice(("rst", "fin")))
    if what == 5:
        return replace(answer, is_absent=True)
    if what < 8:
        data = answer.wire(method)
        return replace(answer, edits=tuple(_edit(chance, data) for _ in range(chance.choice((1, 2)))))
    if what == 8 and answer.framing != "close":
        return replace(
            answer, junk=chance.choice((b"x", b"HTTP/1.1 200 OK\r\nX-Echo: junk\r\nContent-Length: 0\r\n\r\n"))
        )
    if what < 12:
        return replace(answer, closes=chance.choice(("said", "said", "silently")))
    if what == 12:
        return replace(answer, status=101)
    return answer
