"""Whether the app answers at the pod's own address: here 127.0.0.2, the app's being 127.0.0.1."""

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar import metrics
from sidecar.app.exposure import exposure
from sidecar.config.load import load_all
from sidecar.config.model import Config

POD_IP = "127.0.0.2"
TEXT = """\
providers: [{{issuer: "https://idp.example.com", client_id: app}}]
session: {{bind: [{{from: token, cookie: id_token}}]}}
upstream: {{url: "{url}"{more}}}
"""

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(url: str, more: str = "", rest: str = "", pod_ip: str = POD_IP) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(TEXT.format(url=url, more=more) + rest)
        return load_all(str(path), {"POD_IP": pod_ip} if pod_ip else {}).config

    return load


def gauge(accepted: str = "false") -> float | None:
    return metrics.registry.get_sample_value("logout_sidecar_upstream_exposed", {"accepted": accepted})


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("host", "is_exposed"), [("0.0.0.0", True), (POD_IP, True), ("127.0.0.1", False)])
async def test_an_app_on_the_pods_address_is_told_and_one_on_loopback_is_not(
    load: Load, caplog: pytest.LogCaptureFixture, host: str, is_exposed: bool
) -> None:
    with socket.create_server((host, 0)) as app, caplog.at_level(logging.INFO):
        port = app.getsockname()[1]
        looks = exposure(load(f"http://127.0.0.1:{port}"))
        (problem,) = looks.shown.values()
        watch = asyncio.create_task(looks.watch(every=0.01))
        await until(lambda: bool(said(caplog)))
        assert said(caplog) == ["upstream_exposed" if is_exposed else "upstream_not_exposed"]
        assert gauge() == is_exposed
        expected = f"the app also answers at {POD_IP}:{port}, past the sidecar" if is_exposed else None
        assert problem() == expected
        watch.cancel()
        await asyncio.wait({watch})


async def test_what_the_operator_has_accepted_is_told_and_is_no_warning(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as app, caplog.at_level(logging.INFO):
        looks = exposure(load(f"http://127.0.0.1:{app.getsockname()[1]}", ", exposed: accept"))
        (problem,) = looks.shown.values()
        watch = asyncio.create_task(looks.watch(every=0.01))
        await until(lambda: bool(said(caplog)))
        watch.cancel()
        await asyncio.wait({watch})
    assert [(record.message, record.levelname) for record in caplog.records] == [("upstream_exposed", "INFO")]
    assert (gauge("true"), problem()) == (1, None)


async def test_an_app_that_moves_is_noticed_once_in_each_direction(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        with socket.create_server(("0.0.0.0", 0), backlog=4096) as app:
            port = app.getsockname()[1]
            watch = asyncio.create_task(exposure(load(f"http://127.0.0.1:{port}")).watch(every=0.01))
            await until(lambda: gauge() == 1 and bool(said(caplog)))
        await until(lambda: gauge() == 0)
        watch.cancel()
        await asyncio.wait({watch})
    assert said(caplog) == ["upstream_exposed", "upstream_not_exposed"]


@pytest.mark.parametrize(
    ("url", "more", "rest", "pod_ip"),
    [
        ("http://127.0.0.1:8080", "", "", ""),  # nobody knows the address
        ("http://app.internal:8080", "", "", POD_IP),  # no app of this pod
        ("unix:/run/app.sock", "", "", POD_IP),
        ("http://127.0.0.1:8080", "", "listen: 127.0.0.2:8080\n", POD_IP),  # we ourselves are there
        ("http://127.0.0.1:8080", "", "ops: {listen: '127.0.0.2:8080'}\n", POD_IP),
    ],
)
async def test_where_nothing_can_be_told_nobody_looks(load: Load, url: str, more: str, rest: str, pod_ip: str) -> None:
    looks = exposure(load(url, more, rest, pod_ip))
    assert looks.shown == {}
    await asyncio.wait_for(looks.watch(), 1)  # ends at once


def test_what_the_file_says_counts_more_than_the_environment(load: Load) -> None:
    assert load("http://127.0.0.1:8080", ", pod_ip: 10.0.0.9").upstream.pod_ip == "10.0.0.9"
    assert load("http://127.0.0.1:8080").upstream.pod_ip == POD_IP
    assert load("http://127.0.0.1:8080", pod_ip="2001:db8::1").upstream.pod_ip == "2001:db8::1"
