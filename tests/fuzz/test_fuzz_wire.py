"""Fuzzed conversations keep the rules; and the rules notice a data plane that does not.

The same rounds in every run. `make fuzz SECONDS=3600` looks elsewhere for longer.
"""

import asyncio

import pytest
from fuzz import report, search, shrunk
from fuzz_plan import planned
from fuzz_round import Outcome, play

from sidecar.core.replica import Replica
from sidecar.http1 import request as http1_request
from sidecar.http1.chunked import encode_end
from sidecar.proxy.downstream import Downstream
from sidecar.proxy.ending import Ending
from sidecar.proxy.upstream import Upstream
from sidecar.proxy.upstream_mode import Mode

SECONDS = 5.0
PATIENCE = 40.0  # seconds in which a broken plane is found out; most take one


async def test_fuzzed_conversations_keep_the_rules() -> None:
    rounds, failed = await search("suite", SECONDS)
    assert failed is None, report(failed)
    assert rounds > 0


def test_a_seed_is_one_plan() -> None:
    assert planned("1:7") == planned("1:7")
    assert planned("1:7") != planned("1:8")


async def test_a_data_plane_that_knows_no_revocation_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replica, "cutoff", lambda _replica, _digest: None)
    assert "revoked session" in await found()


@pytest.mark.interpreted
async def test_a_data_plane_that_frames_a_request_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_request, "_framing_lines", lambda _request: [b"Content-Length: 0"])
    assert "app: " in await found()


@pytest.mark.interpreted
async def test_a_data_plane_that_completes_a_broken_answer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def complete(exchange: Ending, _status: int, _reason: str) -> None:
        exchange._drop_upstream()
        exchange._downstream.keep_alive = False
        exchange._downstream.write(encode_end([]))
        exchange._close_books(0)
        exchange._downstream.exchange_done()

    monkeypatch.setattr(Ending, "_break_off", complete)
    assert "and the app broke off" in await found("complete, and the app broke off")


@pytest.mark.interpreted
async def test_a_data_plane_that_mixes_answers_up_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def complete(upstream: Upstream, rest: bytes, pieces: list[bytes]) -> tuple[list[bytes], bool]:
        upstream.mode, upstream._buffer = Mode.IDLE, rest  # for whoever comes next
        return pieces, True

    monkeypatch.setattr(Upstream, "_complete", complete)
    assert "is answered to" in await found("is answered to")


async def test_a_data_plane_that_completes_a_broken_upload_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Downstream.connection_lost

    def complete(downstream: Downstream, error: Exception | None) -> None:
        exchange = downstream._exchange
        if exchange is not None and not exchange.request_done and exchange.upstream is not None:
            exchange.request_end([])
            exchange.upstream.close()
            exchange._upstream = None
        lost(downstream, error)

    monkeypatch.setattr(Downstream, "connection_lost", complete)
    assert "no client has sent that" in await found("no client has sent that")


@pytest.mark.interpreted
async def test_a_data_plane_that_forgets_a_connection_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ending, "client_gone", lambda _exchange: None)
    assert "left over" in await found("left over")


async def test_a_failing_round_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replica, "cutoff", lambda _replica, _digest: None)
    outcome = await first_breach()
    small = await shrunk(outcome)
    assert small.breaches
    assert len(small.plan.connections) <= len(outcome.plan.connections)
    assert f"SEED={outcome.plan.seed}" in report(small)


async def found(text: str = "") -> str:
    """What is said of the first round of this (broken) plane in which something like this is said."""
    return "\n".join((await first_breach(text)).breaches)


async def first_breach(text: str = "") -> Outcome:
    async with asyncio.timeout(PATIENCE):
        for number in range(1000):
            outcome = await play(planned(f"broken:{number}"))
            if any(text in breach for breach in outcome.breaches):
                return outcome
    raise AssertionError("nothing was found")
