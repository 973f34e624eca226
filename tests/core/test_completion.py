"""What the app's answers say about a login."""

import pytest

from sidecar.core.completion import Completion, Outcome
from sidecar.core.paths import compile_pattern

ANY, KEEPS = Completion(), Completion(keeps_cookie=True)
HOME = Completion(location=compile_pattern("/home/*"))
SEE_OTHER = Completion(statuses=frozenset({303}))

ROWS = [
    (ANY, 200, None, True, Outcome.COMPLETED),
    (ANY, 302, b"/login?error=1", True, Outcome.COMPLETED),  # the user may have chosen where to go
    (ANY, 399, None, True, Outcome.COMPLETED),
    (ANY, 304, None, True, Outcome.COMPLETED),
    (ANY, 302, b"/", False, Outcome.UNCLEAR),
    (ANY, 400, None, True, Outcome.FAILED),
    (ANY, 500, None, False, Outcome.FAILED),
    (KEEPS, 302, b"/", False, Outcome.COMPLETED),
    (KEEPS, 401, None, False, Outcome.FAILED),
    (SEE_OTHER, 303, None, True, Outcome.COMPLETED),
    (SEE_OTHER, 302, None, True, Outcome.FAILED),
    (SEE_OTHER, 303, None, False, Outcome.UNCLEAR),
    (HOME, 302, b"/home/x", True, Outcome.COMPLETED),
    (HOME, 302, b"https://app.example/home/x?y#z", True, Outcome.COMPLETED),
    (HOME, 302, b"//app.example:80/home/", True, Outcome.COMPLETED),
    (HOME, 302, b"/login?next=/home/x", True, Outcome.FAILED),
    (HOME, 302, b"https://app.example/login#/home/x", True, Outcome.FAILED),
    (HOME, 302, b"https://app.example", True, Outcome.FAILED),
    (HOME, 302, b"home/x", True, Outcome.FAILED),
    (HOME, 200, None, True, Outcome.FAILED),
]


@pytest.mark.parametrize(("completion", "status", "location", "is_new", "outcome"), ROWS)
def test_every_row(completion: Completion, status: int, location: bytes | None, is_new: bool, outcome: Outcome) -> None:
    assert completion.outcome(status, location, is_cookie_new=is_new) is outcome
