"""A pod with several processes: its sockets, and what runs in which process.

The sockets are made here, before the first fork, and stay open as long as the pod does: what is queued on them waits
for whoever is started next. A process closes what is not its own.
"""

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from sidecar.app.accepted import Accepted
from sidecar.app.control_process import serve_control
from sidecar.app.sockets import BACKLOG, CannotStart, listening, private_socket
from sidecar.app.worker_process import serve_worker
from sidecar.config.address import TcpAddress, UnixAddress
from sidecar.config.load import Loaded
from sidecar.config.model import Config
from sidecar.config.secret import Secret
from sidecar.workers.supervisor import Supervisor

Complete = Callable[[Config], Config]  # with what has to be the same in every process of this pod

MARGIN_S = 5.0  # what a process may take beyond the drain, before it is killed


@dataclass(frozen=True, slots=True)
class Sockets:
    """Every listening socket of the pod."""

    public: Sequence[socket.socket]  # one for each worker
    ops: socket.socket
    relay: socket.socket
    control: socket.socket  # the control application
    control_path: str
    hub: socket.socket  # the workers' lines
    hub_path: str

    def close_public(self, but: socket.socket | None = None) -> None:
        """Close the public sockets of other processes."""
        for each in self.public:
            if each is not but:
                each.close()

    def close_private(self) -> None:
        """Close what belongs to the control process."""
        for each in (self.ops, self.relay, self.control, self.hub):
            each.close()


def run_pod(loaded: Loaded) -> int:
    """Supervise until SIGTERM or SIGINT; the exit code. Raises SidecarError when it cannot start."""
    config = loaded.config
    complete = partial(_with_lasting_key, Secret(secrets.token_bytes(32)))
    with contextlib.ExitStack() as stack:
        sockets = _open(stack, config)
        accepted = Accepted(loaded, Path(sockets.control_path).parent)
        return Supervisor(
            control=partial(_control, accepted, complete, sockets),
            workers=[partial(_worker, accepted, complete, sockets, slot) for slot in range(config.workers)],
            deadline_s=config.drain.delay + config.drain.timeout + MARGIN_S,
            on_stop=sockets.close_public,
            on_accepted=accepted.note,
        ).run()


def _control(accepted: Accepted, complete: Complete, sockets: Sockets, lifeline: int, living: Mapping[int, int]) -> int:
    sockets.close_public()
    return uvloop.run(
        serve_control(
            complete(accepted.current().config),
            accepted=accepted,
            ops=sockets.ops,
            relay=sockets.relay,
            control=sockets.control,
            hub=sockets.hub,
            living=living,
            lifeline=lifeline,
        )
    )


def _worker(
    accepted: Accepted, complete: Complete, sockets: Sockets, slot: int, lifeline: int, _living: Mapping[int, int]
) -> int:
    public = sockets.public[slot]
    sockets.close_private()
    sockets.close_public(but=public)
    return uvloop.run(
        serve_worker(
            complete(accepted.current().config),
            accepted=accepted,
            slot=slot,
            pid=os.getpid(),
            public=public,
            control_path=sockets.control_path,
            hub_path=sockets.hub_path,
            lifeline=lifeline,
        )
    )


def _with_lasting_key(key: Secret, config: Config) -> Config:
    """A store in memory would make another digest key for each control process, and the workers would keep the old."""
    if config.store.secret is not None or config.store.url.kind != "sqlite" or config.store.url.path is not None:
        return config
    store = config.store.model_copy(update={"secret": key})
    return config.model_copy(update={"store": store})


def _open(stack: contextlib.ExitStack, config: Config) -> Sockets:
    control_path = stack.enter_context(private_socket())
    hub_path = str(Path(control_path).with_name("workers"))
    return Sockets(
        public=_public(stack, config),
        ops=stack.enter_context(listening(config.ops.listen, "ops.listen")),
        relay=stack.enter_context(listening(config.control.relay_listen, "control.relay_listen")),
        control=stack.enter_context(listening(UnixAddress(control_path), "control")),
        control_path=control_path,
        hub=stack.enter_context(listening(UnixAddress(hub_path), "workers")),
        hub_path=hub_path,
    )


def _public(stack: contextlib.ExitStack, config: Config) -> list[socket.socket]:
    """One socket for each worker, so that the kernel spreads connections; on a Unix path one that they share."""
    first = listening(config.listen, "listen", mode=config.listen_mode)
    if not isinstance(config.listen, TcpAddress):
        shared = stack.enter_context(first)
        return [shared] * config.workers
    # The ordinary one comes first and goes again: SO_REUSEPORT would share the port with whoever has it already.
    with first as probe:
        family, address = probe.family, probe.getsockname()[:2]
        both = family is socket.AF_INET6 and not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    try:
        return [stack.enter_context(_sharing(address, family, both=both)) for _ in range(config.workers)]
    except OSError as error:  # somebody was quicker
        raise CannotStart("cannot_listen", f"listen: cannot listen on {config.listen}: {error.strerror}") from None


def _sharing(address: tuple[str, int], family: socket.AddressFamily, *, both: bool) -> socket.socket:
    server = socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=True, dualstack_ipv6=both)
    server.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return server
