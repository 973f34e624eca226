"""The public listener of the whole process: TLS, a swapped certificate, a Unix socket, and too few descriptors."""

import contextlib
import http.client
import http.server
import json
import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_certificates import Authority
from bench_process import wait_for
from bench_stack import Cast, Sidecar


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the fields that it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(dict(self.headers.items())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def cast(tmp_path: Path) -> Iterator[Cast]:
    """A sidecar, not started, in front of an app that echoes."""
    cast = Cast(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    cast.sidecar.config["upstream"]["url"] = f"http://127.0.0.1:{server.server_port}"
    yield cast
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def mount(folder: Path, version: str, authority: Authority) -> tuple[str, str]:
    """A secret as the kubelet mounts it, and swaps it."""
    (folder / version).mkdir(parents=True)
    authority.issue(folder / version)
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").rename(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return str(folder / "tls.crt"), str(folder / "tls.key")


def port_of(sidecar: Sidecar) -> int:
    return int(sidecar.config["listen"].rpartition(":")[2])


def ask(connection: http.client.HTTPConnection) -> dict[str, str]:
    """What the app was told."""
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200
    return dict(json.loads(answer.read()))


@contextlib.contextmanager
def connected(sidecar: Sidecar, client: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection("127.0.0.1", port_of(sidecar), context=client, timeout=5)
    connection.connect()
    yield connection
    connection.close()


def serial(sidecar: Sidecar, authority: Authority) -> object:
    with connected(sidecar, authority.client()) as connection:
        certificate = connection.sock.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def test_a_swapped_certificate_is_served_without_a_dropped_connection(
    cast: Cast, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = mount(tmp_path / "secret", "..1", authority)
    cast.sidecar.config["tls"] = {"certificate": certificate, "key": key}
    with cast.running(cast.sidecar), connected(cast.sidecar, authority.client()) as old:
        assert ask(old)["X-Forwarded-Proto"] == "https"
        assert cast.sidecar.metric("logout_sidecar_tls_certificate_expiry_timestamp_seconds") > 1e9
        before = serial(cast.sidecar, authority)
        mount(tmp_path / "secret", "..2", authority)
        wait_for(lambda: serial(cast.sidecar, authority) != before, "the new certificate being served")
        assert ask(old)["X-Forwarded-Proto"] == "https"
        assert cast.sidecar.metric('logout_sidecar_tls_certificate_reloads_total{result="ok"}') == 1


def test_clients_without_a_certificate_stay_outside_where_one_is_asked_for(
    cast: Cast, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue(tmp_path)
    cast.sidecar.config["tls"] = {"certificate": certificate, "key": key, "client_ca": str(authority.file)}
    with cast.running(cast.sidecar):
        with connected(cast.sidecar, authority.client(authority.issue(tmp_path, "known"))) as known:
            assert ask(known)["X-Forwarded-Proto"] == "https"
        with pytest.raises((ssl.SSLError, OSError)), connected(cast.sidecar, authority.client()) as stranger:
            ask(stranger)


def test_a_key_that_does_not_fit_ends_the_start_with_one_line(cast: Cast, authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.issue(tmp_path)
    other = authority.issue(tmp_path, "other")[1]
    sidecar = cast.sidecar
    sidecar.config["tls"] = {"certificate": certificate, "key": other}
    with sidecar:
        assert sidecar.wait(within=10) not in {0, 78}
    lines = [line for line in sidecar.output().splitlines() if "tls.key" in line]
    assert len(lines) == 1
    assert f"{other}: not the key of {certificate}" in lines[0]
    assert "Traceback" not in sidecar.output()


def test_behind_a_unix_socket_the_proxy_before_it_is_believed(cast: Cast, tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    sidecar = cast.sidecar
    sidecar.config |= {"listen": f"unix:{path}", "listen_mode": "0600"}
    with cast.running(sidecar):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert json.loads(answer.read())["X-Forwarded-For"] == "192.0.2.7"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv4_clients_of_an_ipv6_listener_keep_their_address(cast: Cast) -> None:
    sidecar = cast.sidecar
    port = port_of(sidecar)
    sidecar.config["listen"] = f"[::]:{port}"
    with cast.running(sidecar):
        for host in ("127.0.0.1", "::1"):
            with contextlib.closing(http.client.HTTPConnection(host, port, timeout=5)) as connection:
                assert ask(connection)["X-Forwarded-For"] == host


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_clients_wait_and_nothing_spins(cast: Cast) -> None:
    """Reference case 89. All of them are served as soon as there are descriptors again."""
    sidecar = cast.sidecar
    sidecar.command = ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *sidecar.command]
    with cast.running(sidecar), contextlib.ExitStack() as stack:
        clients = []
        for _ in range(150):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(sidecar)), timeout=5))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")  # and more to come
            clients.append(client)
        sidecar.wait_until_says("accept_failed")
        assert sidecar.output().count("accept_failed") == 1
        assert "few_descriptors" in sidecar.output()
        pid = sidecar._running().pid
        before = cpu_seconds(pid)
        with contextlib.suppress(TimeoutError):  # a moment in which nothing happens
            wait_for(lambda: cpu_seconds(pid) - before > 0.5, "spinning", within=1)
        assert cpu_seconds(pid) - before < 0.5
        for client in clients:
            client.sendall(b"Connection: close\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.status in {200, 502}  # 502: there was no descriptor for the app's connection
            client.close()
        wait_for(sidecar.is_ready, "being ready again")
