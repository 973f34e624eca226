"""The running webhook over real TLS: what the API server sees, and what strangers get."""

import asyncio
import base64
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from bench_certificates import Authority
from kube_pods import MINORS, patched, pod, spec, valid

from sidecar.app.certificate import Certificate
from sidecar.control.server import runner
from sidecar.kube.settings import DEFAULTS
from sidecar.kube.webhook import MAX_BODY_BYTES, Webhook, serve

JSON = {"Content-Type": "application/json"}


def question(found: Any) -> bytes:
    request = {"uid": "u-1", "kind": {"group": "", "kind": "Pod"}, "operation": "CREATE", "object": found}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


@dataclass
class Running:
    """A webhook and what a client needs to reach it."""

    url: str
    trust: ssl.SSLContext
    certificate: Certificate
    stopping: asyncio.Event
    done: "asyncio.Task[None]"

    async def ask(
        self, body: bytes | None = None, path: str = "/mutate", method: str = "POST", headers: Any = JSON
    ) -> tuple[int, str, bytes]:
        connector = aiohttp.TCPConnector(ssl=self.trust, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, skip_auto_headers=["Content-Type"]) as session,
            session.request(method, self.url + path, data=body, headers=headers) as response,
        ):
            return response.status, response.content_type, await response.read()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def webhook(authority: Authority, tmp_path: Path) -> AsyncIterator[Running]:
    certificate_file, key_file = authority.issue(tmp_path, "one")
    certificate = Certificate(certificate=certificate_file, key=key_file, client_ca=None, min_version="1.2")
    listener = socket.create_server(("127.0.0.1", 0))
    stopping = asyncio.Event()
    done = asyncio.create_task(
        serve(
            listener=listener,
            certificate=certificate,
            runner=runner,
            defaults=DEFAULTS,
            stopping=stopping,
            drain_s=0.05,
        )
    )
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    yield Running(url, authority.client(), certificate, stopping, done)
    stopping.set()
    await done


@pytest.fixture
def handler() -> Webhook:
    return Webhook(defaults=DEFAULTS, body_timeout_s=0.05)


@pytest.fixture
async def plain(handler: Webhook) -> AsyncIterator[tuple[str, int]]:
    """The same handler without TLS and without patience."""
    served = runner(handler)
    await served.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(served, listener).start()
    yield listener.getsockname()
    await served.cleanup()


async def first_line(address: tuple[str, int], request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()
    return line


async def test_a_pod_comes_back_with_a_patch_that_makes_it_valid(webhook: Running) -> None:
    before = pod(spec())
    status, media_type, body = await webhook.ask(question(before))
    response = json.loads(body)["response"]
    after = patched(before, json.loads(base64.b64decode(response["patch"])))
    assert (status, media_type, response["uid"], response["allowed"]) == (200, "application/json", "u-1", True)
    for minor in MINORS:
        valid(after, minor)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"{}", JSON, 400),
        (b"{}", {"Content-Type": "application/json; charset=utf-8"}, 400),  # the type is right
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": "application/yaml"}, 415),
        (b"{}", {}, 415),
        (b"{}", {"Content-Type": "application/json, text/plain"}, 415),
        (b"\x1f\x8b garbage", {**JSON, "Content-Encoding": "gzip"}, 400),
    ],
)
async def test_what_is_no_review_is_refused_with_a_line(
    webhook: Running, body: bytes, headers: Any, status: int
) -> None:
    found, media_type, text = await webhook.ask(body, headers=headers)
    assert (found, media_type, text.count(b"\n")) == (status, "text/plain", 1)
    assert (await webhook.ask(question(pod(spec()))))[0] == 200  # and it goes on serving


async def test_a_body_that_says_that_it_is_too_large_is_refused_before_it_is_sent(plain: tuple[str, int]) -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    assert (await first_line(plain, head + length)).startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_turns_out_too_large_is_refused(handler: Webhook, plain: tuple[str, int]) -> None:
    handler._body_timeout_s = 30.0  # eight megabytes take their time

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65_536 + 1):
            yield b" " * 65_536

    url = "http://{}:{}/mutate".format(*plain)
    async with aiohttp.request("POST", url, data=chunks(), headers=JSON) as response:
        assert response.status == 413


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/livez", "GET", 200),
        ("/readyz", "GET", 200),
        ("/readyz?verbose", "GET", 200),
        ("/mutate?timeout=5s", "POST", 400),  # the API server adds the time-out
        ("/mutate", "GET", 405),
        ("/", "GET", 404),
        ("/mutate/", "POST", 404),
        ("/metrics", "GET", 404),
    ],
)
async def test_paths_and_methods(webhook: Running, path: str, method: str, status: int) -> None:
    assert (await webhook.ask(None, path=path, method=method))[0] == status


async def test_a_new_certificate_is_used_for_the_next_connection(
    webhook: Running, authority: Authority, tmp_path: Path
) -> None:
    async def served() -> bytes:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", int(webhook.url.rpartition(":")[2]), ssl=webhook.trust, server_hostname="127.0.0.1"
        )
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return bytes(found)

    before = await served()
    authority.issue(tmp_path, "one")  # over the old files
    webhook.certificate.refresh()
    assert await served() != before


async def test_while_it_drains_it_is_not_ready_and_still_answers(handler: Webhook, plain: tuple[str, int]) -> None:
    handler.is_draining = True
    assert (await first_line(plain, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
    assert (await first_line(plain, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    url = "http://{}:{}/mutate".format(*plain)
    async with aiohttp.request("POST", url, data=question(pod(spec())), headers=JSON) as response:
        assert response.status == 200


async def test_it_ends_when_it_is_told_to(webhook: Running) -> None:
    webhook.stopping.set()
    await asyncio.wait_for(webhook.done, 5)
    with pytest.raises(aiohttp.ClientConnectorError):
        await webhook.ask(path="/livez", method="GET")


async def test_a_body_that_does_not_arrive_is_given_up(plain: tuple[str, int]) -> None:
    head = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
    assert (await first_line(plain, head)).startswith(b"HTTP/1.1 408 ")


async def test_the_log_says_what_became_of_a_pod(webhook: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="sidecar.kube.webhook"):
        await webhook.ask(question(pod(spec(hostNetwork=True))))
        await webhook.ask(b"{}")
    (refused, malformed) = [each for each in caplog.records if each.getMessage().startswith("admission")]
    assert (refused.levelno, refused.fields["reason"]) == (logging.WARNING, "host_network")  # type: ignore[attr-defined]
    assert (malformed.getMessage(), malformed.fields["reason"]) == ("admission_malformed", "bad_review")  # type: ignore[attr-defined]
