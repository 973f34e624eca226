"""What must hold of every round, whatever was on the wire. Each rule yields what was wrong, as sentences."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fuzz_ends import App, Seen
from fuzz_plan import DEAD, DOOMED, LIVE, Answer, Connection, Message, Plan
from fuzz_reading import Answer as Received
from fuzz_reading import AnswerReader, Request, answers_in, requests_in

_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
_REFUSALS = frozenset((400, 401, 404, 405, 408, 413, 414, 417, 431, 502, 503, 504))
# What the sidecar says to the app by itself, or in other words than the client.
_OURS = re.compile(rb"x-forwarded-.*|forwarded|host|content-length|transfer-encoding|connection|te|upgrade|expect")
_ORIGIN = re.compile(rb"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#]*")
_NO_TRAILERS = frozenset((b"cookie", b"content-length", b"host", b"transfer-encoding", b"set-cookie"))
_DRAINED = 200_000  # a little less than what the sidecar reads of a body that it refuses


def sure_of(connection: Connection, plan: Plan) -> int:
    """How many answers this client has a right to, complete and as planned."""
    if not connection.is_honest or any(map(_may_be_reset, connection.messages)):
        return 0
    is_silent = any(answer.closes == "silently" for answer in plan.answers.values())
    sure = 0
    for message in connection.messages:
        is_repeatable = message.method in _REPEATABLE and not _has_body(message)
        if not _is_sure(message) or (is_silent and not is_repeatable):
            break
        sure += 1
        if _ends_the_connection(message):
            break
    return sure


def _may_be_reset(message: Message) -> bool:
    """A reset also takes away what is on the way of an earlier answer."""
    answer = message.answer
    return answer.is_broken or bool(answer.edits) or message.cookie is DOOMED


def _is_sure(message: Message) -> bool:
    answers_first = message.cookie is DEAD or message.answer.is_early
    return message.answer.is_proper and not (answers_first and len(message.data) > _DRAINED)


def _goes_on_to_the_end(message: Message) -> bool:
    """There are no chunks in HTTP/1.0."""
    return b" HTTP/1.0\r\n" in message.data and message.answer.framing != "length"


def _ends_the_connection(message: Message) -> bool:
    answers_first = message.cookie is DEAD or message.answer.is_early or message.answer.status == 101
    is_cut = answers_first and (_has_body(message) or message.answer.status == 101)
    return message.is_last or _goes_on_to_the_end(message) or is_cut


def _has_body(message: Message) -> bool:
    return not message.data.endswith(b"\r\n\r\n") or b"chunked\r\n" in message.data


# What clients get


def of_client(seen: Seen, plan: Plan) -> Iterator[str]:
    """The answers parse, are in order, belong to their requests, and are complete only if the app's were."""
    asked = requests_in(bytes(seen.sent)).requests
    reader = answers_in(bytes(seen.received), asked, ended_well=seen.ended == "fin")
    if seen.times_out:
        yield "waits in vain"
    if reader.error:
        yield f"cannot read its answers: {reader.error}"
    if len(reader.answers) > len(asked) + 1:
        yield f"gets {len(reader.answers)} answers to {len(asked)} requests"
    if seen.ended == "fin" and reader.tunnel is None and _is_half(reader, asked):
        yield "gets half an answer and a good end"
    for index, got in enumerate(reader.answers):
        request = asked[index] if index < len(asked) else None
        for breach in _of_answer(got, request, plan.answers):
            yield f"answer {index}: {breach}"
    if not reader.error:
        yield from _of_rights(seen, plan, reader)
    if reader.tunnel is not None and reader.answers:
        yield from _of_tunnel(seen, reader, asked, plan.answers)


def _is_half(reader: AnswerReader, asked: Sequence[Request]) -> bool:
    if not reader.answers:
        return bool(reader.rest)
    last = reader.answers[-1]
    if len(reader.answers) > len(asked) and last.reason is not None and last.value(b"connection") == b"close":
        return False  # a refusal of what nobody can read; whether it has a body goes by the first word alone
    return not last.is_complete or bool(reader.rest)


def _of_answer(got: Received, request: Request | None, planned: dict[bytes, Answer]) -> Iterator[str]:
    if got.reason is not None:
        if got.status not in _REFUSALS:
            yield f"the sidecar answers {got.status} {got.reason!r}"
        return
    if request is None:
        yield "nobody asked for it"
        return
    if got.interim and request.version == b"1.0":
        yield "an informational answer to an HTTP/1.0 client"
    plan = planned.get(request.tag)
    if plan is None or plan.edits or len(request.values(b"x-id")) != 1:
        return
    if got.value(b"x-echo") != plan.tag:
        yield f"{got.value(b'x-echo')!r} is answered to {plan.tag!r}"
    elif got.status != plan.status:
        yield f"{got.status} instead of {plan.status}"
    else:
        yield from _of_body(got, request, plan)


def _of_body(got: Received, request: Request, plan: Answer) -> Iterator[str]:
    is_bare = request.method == b"HEAD" or plan.status in (101, 204, 304)
    whole = b"" if is_bare else plan.body()
    until_end = plan.framing == "close" and plan.breaks_by == "fin" and not is_bare
    if got.is_complete and not until_end:
        if plan.is_broken:
            yield "complete, and the app broke off"
        elif got.body != whole:
            yield f"a body of {len(got.body)} bytes instead of {len(whole)}"
    elif not whole.startswith(got.body):
        yield "a body that the app has not sent"


def _of_rights(seen: Seen, plan: Plan, reader: AnswerReader) -> Iterator[str]:
    """What an honest client can count on."""
    sure = sure_of(seen.connection, plan)
    if reader.completed < sure:
        yield f"gets {reader.completed} complete answers of {sure}"
    for index, message in enumerate(seen.connection.messages[: min(sure, reader.completed)]):
        got = reader.answers[index]
        if message.cookie is DEAD:
            expected = (401, b"revoked")
        elif message.answer.status == 101 and not (message.answer.minor and b"Upgrade: websocket" in message.data):
            expected = (502, b"unexpected_101")
        else:
            expected = (message.answer.status, None)
        if (got.status, got.reason) != expected:
            yield f"answer {index}: {got.status} {got.reason!r} instead of {expected}"


def _of_tunnel(
    seen: Seen, reader: AnswerReader, asked: Sequence[Request], planned: dict[bytes, Answer]
) -> Iterator[str]:
    last = len(reader.answers) - 1
    plan = planned.get(asked[last].tag) if last < len(asked) else None
    if plan is None or plan.edits or not plan.is_proper:
        return
    tunnel = reader.tunnel or b""
    is_to_its_end = bool(seen.ended) or seen.connection.is_honest  # others may have left it
    if tunnel != plan.down if is_to_its_end else not plan.down.startswith(tunnel):
        yield f"a tunnel of {len(tunnel)} bytes instead of {len(plan.down)}"


# What the app gets


@dataclass
class _Position:
    """How far the app has got in what one client sent."""

    seen: Seen
    requests: list[Request]
    last: int = -1


def of_app(app: App, all_seen: Sequence[Seen]) -> Iterator[str]:
    """Every request parses, was sent by a client, comes in its order, whole or visibly cut, and has no dead session."""
    for served in app.served:
        if served.reader.error:
            yield f"cannot read a request: {served.reader.error}"
    positions = [_Position(seen, requests_in(bytes(seen.sent)).requests) for seen in all_seen]
    for request, _ in app.arrived:
        if any(name in _NO_TRAILERS for name, _value in request.trailers):
            yield f"{request.tag!r}: trailers {request.trailers}"
        yield from _of_cookies(request, all_seen)
        yield from _of_origin(request, positions)
    yield from _of_uplinks(app, all_seen)


def _of_origin(request: Request, positions: Sequence[_Position]) -> Iterator[str]:
    for position in positions:
        for index, sent in enumerate(position.requests):
            if _is_same(request, sent):
                may_repeat = request.method in _REPEATABLE and not request.body
                if index < position.last or (index == position.last and not may_repeat):
                    yield f"{request.tag!r} comes out of order"
                position.last = max(index, position.last)
                return
    what = f"{len(request.body)} bytes, {request.fields}"
    yield f"{request.method!r} {request.target!r}: no client has sent that ({what})"


def _is_same(got: Request, sent: Request) -> bool:
    target = _ORIGIN.sub(b"", sent.target) or b"/"
    target = target if target.startswith((b"/", b"*")) else b"/" + target
    is_body = got.body == sent.body and sent.is_complete if got.is_complete else sent.body.startswith(got.body)
    return got.method == sent.method and got.target == target and is_body and _are_fields_of(got, sent)


def _are_fields_of(got: Request, sent: Request) -> bool:
    """The client's own fields, in order, and none of them spelled anew."""
    rest = iter(sent.fields)
    return all(field in rest for field in got.fields if not _OURS.fullmatch(field[0]))


def _of_cookies(request: Request, all_seen: Sequence[Seen]) -> Iterator[str]:
    for value in request.values(b"cookie"):
        for pair in re.split(rb"[;,]", value):
            name, _, session = (part.strip(b' \t"') for part in pair.partition(b"="))
            if name.lower() != b"jsessionid":
                continue
            is_doomed = session == DOOMED + b"-" + request.tag.partition(b"-")[0]
            if session == DEAD or (is_doomed and request.tag in _late(all_seen)):
                yield f"{request.tag!r} has the revoked session {session!r}"


def _late(all_seen: Sequence[Seen]) -> set[bytes]:
    """Requests that were sent behind a logout."""
    return {message.tag for seen in all_seen for message in seen.connection.messages if message.is_late}


def _of_uplinks(app: App, all_seen: Sequence[Seen]) -> Iterator[str]:
    """What clients say behind a 101 arrives as they said it."""
    sent = {message.tag: message for seen in all_seen for message in seen.connection.messages}
    honest = {each.tag: seen for seen in all_seen if seen.connection.is_honest for each in seen.connection.messages}
    for served in app.served:
        if not served.tunnel:
            continue
        tag = served.answered[-1].tag
        if tag not in honest:
            continue
        message = sent[tag]
        is_sure = honest[tag].ended == "fin" and message.cookie in (b"", LIVE) and message.answer.is_proper
        if served.tunnel != message.tunnel if is_sure else not message.tunnel.startswith(served.tunnel):
            yield f"{tag!r}: {len(served.tunnel)} bytes in the tunnel, not what the client sent"


def breaches(app: App, all_seen: Sequence[Seen], plan: Plan) -> Iterator[str]:
    """Everything that is wrong with what was seen."""
    for seen in all_seen:
        for breach in of_client(seen, plan):
            yield f"client {seen.connection.number}: {breach}"
    for breach in of_app(app, all_seen):
        yield f"app: {breach}"
