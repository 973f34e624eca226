"""Listening sockets: what is left over is cleared, what belongs to somebody else is not touched."""

import socket
from pathlib import Path

import pytest

from sidecar.app.sockets import CannotStart, listening
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
