"""The control application: what is served under the control prefix of the public port.

The data plane forwards the prefix to it over a private Unix socket, as it forwards everything else to the app.
Whatever is not listed here is 404 and never reaches the app.
"""

from collections.abc import Mapping

from aiohttp import web

from sidecar.control.server import Handler, routed, runner


def control_runner(*, prefix: str, endpoints: Mapping[str, Handler]) -> web.ServerRunner:
    """The server for the private socket; `endpoints` by what follows the prefix. Call it inside the running loop."""
    return runner(routed({f"{prefix}/{name}": handler for name, handler in endpoints.items()}))
