"""The control application: what is served under the control prefix of the public port.

The data plane forwards the prefix to it over a private Unix socket, as it forwards everything else to the app
(DESIGN section 3). Whatever is not listed here is 404 and never reaches the app.
"""

from aiohttp import web

from sidecar.control.server import Handler, routed, runner


def control_runner(*, prefix: str, logout: Handler, signed_out: Handler | None = None) -> web.ServerRunner:
    """The server for the private socket. Call it inside the running loop."""
    routes = {f"{prefix}/backchannel-logout": logout}
    if signed_out is not None:
        routes[f"{prefix}/signed-out"] = signed_out
    return runner(routed(routes))
