"""What went wrong on the app's side, with the status that says so."""

from sidecar.errors import SidecarError


class UpstreamError(SidecarError):
    """The app could not be reached, was too slow or broke off. 502, 503 or 504 with a stable reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
