"""What a peer did wrong with HTTP, with the status that says so."""

from sidecar.errors import SidecarError


class ProtocolError(SidecarError):
    """The peer broke HTTP/1.1. `status` is for the client: 4xx when it is to blame, 502 when the app is."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
