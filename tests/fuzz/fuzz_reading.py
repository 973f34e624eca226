"""How h11 reads what passed on the wire: the second opinion that the rules of the fuzzer compare with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import h11

_MOST = 4 << 20  # what h11 may hold of an incomplete event
_SWITCHING = [("Host", "x"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]


@dataclass
class Request:
    """One request as h11 reads it. What is not complete has perhaps only the beginning of its body."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytearray = field(default_factory=bytearray)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_complete: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def tag(self) -> bytes:
        return next(iter(self.values(b"x-id")), b"")

    @property
    def switches(self) -> bool:
        return bool(self.values(b"upgrade")) and b"websocket" in self.values(b"upgrade")[0].lower()


class RequestReader:
    """Reads requests one after the other; a message that h11 refuses ends it with `error`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.error = ""
        self._begin(b"")

    def feed(self, data: bytes) -> None:
        """More bytes; complete requests are skipped over by `next`."""
        if self.error:
            return
        if self._is_between:
            data = (self._connection.trailing_data[0] + data).lstrip(b"\r\n")  # forgiven before a request line
            self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)
        try:
            if data:
                self._connection.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            self.error = str(error)

    def next(self) -> None:
        """The current request is done with: what follows is another one."""
        self._begin(self._connection.trailing_data[0])

    @property
    def rest(self) -> bytes:
        """What is here behind the last complete message."""
        return self._connection.trailing_data[0]

    def _begin(self, rest: bytes) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)
        self._is_between = True
        if rest:
            self.feed(rest)

    def _read(self) -> None:
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                self._is_between = False
                fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                self.requests.append(Request(event.method, event.target, event.http_version, fields))
            elif isinstance(event, h11.Data):
                self.requests[-1].body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.requests[-1].is_complete = True
                self.requests[-1].trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
                return
            else:
                return


def requests_in(data: bytes) -> RequestReader:
    """Everything that h11 can read in what a client sent."""
    reader = RequestReader()
    reader.feed(data)
    while reader.requests and reader.requests[-1].is_complete and not reader.error and reader.rest.lstrip(b"\r\n"):
        before = len(reader.requests)
        reader.next()
        if len(reader.requests) == before:
            break
    return reader


@dataclass
class Answer:
    """One final answer as h11 reads it, and the informational ones before it."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytearray = field(default_factory=bytearray)
    interim: list[int] = field(default_factory=list)
    is_complete: bool = False

    def value(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)

    @property
    def reason(self) -> bytes | None:
        """Why the sidecar itself answered; None: it is the app's answer."""
        return self.value(b"x-logout-sidecar")


class AnswerReader:
    """Reads the answers to these requests, in order."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._asked = [(request.method, request.switches) for request in requests]
        self.answers: list[Answer] = []
        self.error = ""
        self.tunnel: bytes | None = None  # what came behind a 101
        self._interim: list[int] = []
        self._connection = self._new()

    @property
    def completed(self) -> int:
        return sum(answer.is_complete for answer in self.answers)

    def feed(self, data: bytes) -> None:
        """More bytes; none: the other side ended in good order."""
        if self.error:
            return
        if self.tunnel is not None:
            self.tunnel += data
            return
        try:
            self._connection.receive_data(data)
            self._read(is_end=not data)
        except h11.RemoteProtocolError as error:
            self.error = str(error)

    @property
    def rest(self) -> bytes:
        return self._connection.trailing_data[0] if self.tunnel is None else b""

    def _new(self) -> h11.Connection:
        index = len(self.answers)
        method, switches = self._asked[index] if index < len(self._asked) else (b"GET", False)
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST)
        headers: Sequence[tuple[str, str]] = _SWITCHING if switches else [("Host", "x")]
        method = b"GET" if method == b"CONNECT" else method
        connection.send(h11.Request(method=method, target="/", headers=headers))
        connection.send(h11.EndOfMessage())
        return connection

    def _read(self, *, is_end: bool) -> None:
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.InformationalResponse):
                self._informed(event)
                if self.tunnel is not None:
                    return
            elif isinstance(event, h11.Response):
                fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                self.answers.append(Answer(event.status_code, fields, interim=self._interim))
                self._interim = []
            elif isinstance(event, h11.Data):
                self.answers[-1].body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.answers[-1].is_complete = True
                rest = self._connection.trailing_data[0]
                if is_end or not rest:
                    self._next(rest)
                    return
                self._next(rest)
            else:
                return

    def _next(self, rest: bytes) -> None:
        self._connection = self._new()
        if rest:
            self._connection.receive_data(rest)

    def _informed(self, event: h11.InformationalResponse) -> None:
        if event.status_code == 101:
            fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            self.answers.append(Answer(101, fields, interim=self._interim, is_complete=True))
            self.tunnel = self._connection.trailing_data[0]
        else:
            self._interim.append(event.status_code)


def answers_in(data: bytes, requests: Iterable[Request], *, ended_well: bool) -> AnswerReader:
    """Everything that h11 can read in what a client received."""
    reader = AnswerReader(requests)
    if data:
        reader.feed(data)
    if ended_well and reader.tunnel is None and not reader.error:
        _feed_end(reader)
    return reader


def _feed_end(reader: AnswerReader) -> None:
    """Only an answer that is under way can be ended by the end of the connection."""
    if reader.answers and not reader.answers[-1].is_complete:
        try:
            reader._connection.receive_data(b"")
            reader._read(is_end=True)
        except h11.RemoteProtocolError:
            pass  # ended too early: it stays incomplete
