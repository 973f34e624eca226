"""The app for large bodies: `GET /N` is N bytes, any other body is read and thrown away.

`python -m benchmarks.body_app PORT`
"""

import contextlib
import socket
import sys
import threading

from benchmarks.wire import Peer, memory_file


def main() -> None:
    content = memory_file()
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64) as server:
        while True:
            sock, _ = server.accept()
            threading.Thread(target=_serve, args=(sock, content), daemon=True).start()


def _serve(sock: socket.socket, content: int) -> None:
    with sock, contextlib.suppress(OSError):  # a proxy that drops an idle connection, or leaves one idle too long
        peer = Peer(sock)
        while head := peer.read_head():
            method, target = head.split(b" ", 2)[:2]
            size = int(target.rpartition(b"/")[2]) if method == b"GET" else 0
            peer.discard_body()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, content, size)


if __name__ == "__main__":
    main()
