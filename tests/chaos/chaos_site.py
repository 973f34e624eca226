"""What runs in one round: replicas of the sidecar as processes, one app behind them, and the store beside them.

Which servers the store is made of depends on the mode (`chaos_stores.py`). Everything listens on loopback and is ended
with the round.
"""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from bench_process import Process, free_port
from chaos_history import Fault, History, Life
from chaos_link import Link
from chaos_people import CLIENT, ISSUER, Signer
from chaos_stores import StorePlace
from chaos_wire import Client, serve_app

from sidecar import clock

FRESH_S, GRACE_S = 0.6, 1.2
PRODUCT = (sys.executable, "-P", "-m", "sidecar")
NAIVE = (sys.executable, str(Path(__file__).with_name("chaos_naive.py")))
READY_S = 20.0
REPLICAS = 3


class Replica(Process):
    """One place where a sidecar runs; `life` is the process that runs there now."""

    def __init__(self, name: str, *, folder: Path, program: Sequence[str], config: dict[str, Any], link: Link | None):
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        env = {"DIGEST_SECRET": "at least sixteen bytes, made up for tests", "STORE_PASSWORD": "the-sidecar"}
        super().__init__([*program, "run", "-c", path], name=name, folder=folder, env=env)
        self.link = link
        self.port = int(config["listen"].rpartition(":")[2])
        self.life = Life(name, clock.boot())
        self._ops = Client(int(config["ops"]["listen"].rpartition(":")[2]))

    def start(self, *, is_cut_off: bool = False) -> None:
        super().start()
        self.life = Life(self.name, clock.boot())
        if not is_cut_off:
            self.life.could_know = self.life.born

    def kill(self) -> None:
        self.life.died = clock.boot()
        super().kill()

    async def ready(self, within: float = READY_S) -> None:
        """Wait until it says so itself."""
        deadline = clock.boot() + within
        while (await self._ops.ask(b"GET /readyz HTTP/1.1\r\nHost: ops\r\n\r\n") or (0,))[0] != 200:
            assert self.is_running(), f"{self.name} ended:\n{self.tail()}"
            assert clock.boot() < deadline, f"{self.name} is not ready:\n{self.tail()}"
            await asyncio.sleep(0.02)

    def close(self) -> None:
        self._ops.close()
        super().kill()


class Site:
    """The whole bench. Leaving the block ends it."""

    def __init__(self, folder: Path, *, store: StorePlace, history: History, program: Sequence[str] = PRODUCT) -> None:
        self.store = store
        self.history = history
        self.signer = Signer(folder)
        self.replicas: list[Replica] = []
        self._folder = folder
        self._program = program
        self._stack = contextlib.AsyncExitStack()
        self._app: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._app = await asyncio.start_server(serve_app, "127.0.0.1", 0)
        self._stack.callback(self._app.close)
        self.replicas = [await self._replica(f"replica-{number}") for number in range(REPLICAS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        # The app's connections end with the replicas behind them.
        if rest := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(rest, timeout=2)

    async def start(self) -> None:
        for replica in self.replicas:
            replica.start()
        for replica in self.replicas:
            await replica.ready()

    async def newborn(self) -> Replica:
        """One more replica, ready."""
        replica = await self._replica(f"newborn-{len(self.replicas)}")
        replica.start()
        await replica.ready()
        return replica

    def fault(self, name: str, *, loses: bool = False, refuses: bool = False) -> Fault:
        """Write down that a fault begins now."""
        fault = Fault(name, clock.boot(), loses=loses, refuses=refuses)
        self.history.faults.append(fault)
        return fault

    async def _replica(self, name: str) -> Replica:
        link = None
        if self.store.port is not None:
            link = Link(self.store.port)
            await link.open()
            self._stack.push_async_callback(link.aclose)
        config = self._config(f"redis://127.0.0.1:{link.port}/0" if link else self.store.url)
        replica = Replica(name, folder=self._folder, program=self._program, config=config, link=link)
        self._stack.callback(replica.close)
        return replica

    def _config(self, url: str) -> dict[str, Any]:
        assert self._app is not None
        app = self._app.sockets[0].getsockname()[1]
        return {
            "listen": f"127.0.0.1:{free_port()}",
            "upstream": {"url": f"http://127.0.0.1:{app}"},
            "ops": {"listen": f"127.0.0.1:{free_port()}"},
            "control": {"relay_listen": f"127.0.0.1:{free_port()}"},
            "providers": [
                {
                    "issuer": ISSUER,
                    "client_id": CLIENT,
                    "algorithms": ["ES256"],
                    "jwks_file": str(self.signer.jwks_file),
                    "logout_token": {"unavailable_status": 503},
                }
            ],
            "session": {"bind": [{"from": "token", "cookie": "id_token"}]},
            "store": {
                "url": url,
                "secret": {"env": "DIGEST_SECRET"},
                "fresh": f"{int(FRESH_S * 1000)}ms",
                "grace": f"{int(GRACE_S * 1000)}ms",
                **self.store.options,
            },
            "drain": {"delay": "0s", "timeout": "1s"},
        }
