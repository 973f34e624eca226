"""Listening sockets: what is left over is cleared, what belongs to somebody else is not touched."""

import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.app.sockets import CannotStart, allow_descriptors, listening
from sidecar.config.address import TcpAddress, UnixAddress


@pytest.fixture
def address(tmp_path: Path) -> UnixAddress:
    return UnixAddress(str(tmp_path / "public.sock"))


def is_answered(address: UnixAddress) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(address.path) == 0


def test_a_unix_socket_is_gone_when_its_process_ends(address: UnixAddress):
    with listening(address, "listen"):
        assert is_answered(address)
    assert not Path(address.path).exists()


def test_a_socket_that_a_killed_process_left_is_replaced(address: UnixAddress):
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(address.path)
    with listening(address, "listen"):
        assert is_answered(address)


def test_a_socket_that_another_process_answers_is_an_error_and_stays_its_own(address: UnixAddress):
    with listening(address, "listen"):
        with pytest.raises(CannotStart, match=r"^listen: cannot listen on .*public\.sock: Address already in use$"):
            listening(address, "listen").__enter__()
        assert is_answered(address)


def test_a_file_in_the_place_of_a_socket_is_an_error_and_is_kept(address: UnixAddress):
    Path(address.path).write_text("somebody's data")
    with pytest.raises(CannotStart, match="Address already in use"):
        listening(address, "listen").__enter__()
    assert Path(address.path).read_text() == "somebody's data"


def test_the_socket_of_a_successor_is_left_alone(address: UnixAddress):
    with socket.socket(socket.AF_UNIX) as successor:
        with listening(address, "listen") as ours:
            ours.close()  # drained; the next process starts before this one has ended
            Path(address.path).rename(f"{address.path}.old")  # kept, so that its inode is not used again
            successor.bind(address.path)
            successor.listen()
        assert is_answered(address)


def test_a_port_in_use_is_said_once():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = TcpAddress("127.0.0.1", other.getsockname()[1])
        with pytest.raises(CannotStart) as caught:
            listening(address, "ops.listen").__enter__()
    assert str(caught.value) == f"ops.listen: cannot listen on {address}: Address already in use"


def test_a_host_that_does_not_exist_is_said():
    with pytest.raises(CannotStart, match=r"listen: cannot listen on no-such-host\.invalid:4180: no such host$"):
        listening(TcpAddress("no-such-host.invalid", 4180), "listen").__enter__()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_the_permissions_that_were_asked_for(address: UnixAddress, mode: int):
    with listening(address, "listen", mode=mode):
        assert stat.S_IMODE(Path(address.path).stat().st_mode) == mode


def test_without_a_mode_the_umask_decides(address: UnixAddress):
    before = os.umask(0o117)
    try:
        with listening(address, "listen"):
            assert stat.S_IMODE(Path(address.path).stat().st_mode) == 0o660
    finally:
        os.umask(before)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_ipv6_address_is_every_ipv4_address_too():
    with listening(TcpAddress("::", 0), "listen") as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_one_ipv6_address_is_no_other():
    with listening(TcpAddress("::1", 0), "listen") as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]))


SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


@pytest.mark.skipif(not SOMAXCONN.exists(), reason="this system does not say how many may wait")
def test_as_many_clients_can_wait_as_the_system_allows():
    with listening(TcpAddress("127.0.0.1", 0), "listen") as listener:
        most = int(SOMAXCONN.read_text())
        # TCP_INFO of a listening socket: tcpi_sacked is its backlog.
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert int.from_bytes(info[28:32], "little") == most


@pytest.fixture
def _limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_limit")
def test_the_soft_limit_of_descriptors_is_raised_as_far_as_needed_and_allowed():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
    assert allow_descriptors(400) == 400
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (500, hard)
    assert allow_descriptors(600) == 600
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, hard)
    if hard != resource.RLIM_INFINITY:
        assert allow_descriptors(hard + 1) == hard
