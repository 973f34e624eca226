"""The gate where unknown credentials are denied: it looks at a request only when the vouchers are out of it.

A class of its own, so that where nothing is denied for being unknown no request pays for the question.
"""

from collections.abc import Coroutine
from typing import Any

from sidecar.gate.gate import Gate
from sidecar.gate.judgement import Judgement
from sidecar.gate.vouchers import Vouchers
from sidecar.http1.request import RequestHead


class VouchingGate(Gate):
    """Judges requests without their vouchers, which are the sidecar's own and never reach the app."""

    def __init__(self, *, vouchers: Vouchers, **parts: Any) -> None:
        super().__init__(**parts)
        self._take_out = vouchers.take_out

    def judge(self, request: RequestHead, now: float) -> Judgement | Coroutine[Any, Any, Judgement]:
        """The verdict on a request."""
        self._take_out(request)
        return super().judge(request, now)
