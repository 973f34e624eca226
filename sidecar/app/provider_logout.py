"""`logout-sidecar provider-logout`: the call that follows the app's own logout, made by hand.

The same client, credentials and attempts as in the running sidecar, so that what works here works there. It reads the
configuration file and nothing else: no store, no running process.
"""

import asyncio
import contextlib
import json
from typing import NamedTuple

from sidecar.app.outbound import open_admin_api
from sidecar.config.outbound_settings import StrivacitySettings
from sidecar.core.strivacity import Answer, Outcome
from sidecar.errors import SidecarError
from sidecar.outbound.provider_logout import ProviderLogouts

_VERDICTS = {
    Outcome.ENDED: "ended: the provider has ended the session",
    Outcome.GONE: "gone: the provider knows no such session of this account in this identity store; it is over already",
    Outcome.UNAUTHORIZED: "unauthorized: the provider does not take the credentials",
    Outcome.FORBIDDEN: "forbidden: the credentials are good, but",
    Outcome.UNAVAILABLE: "unavailable: the provider did not do it now; try again later",
    Outcome.REFUSED: "refused: the provider does not take this request",
}


class Verdict(NamedTuple):
    """What a person is told, and whether the session is over."""

    text: str
    is_done: bool


class NotConfigured(SidecarError):
    """The configuration names no API to call."""


def end_by_hand(settings: StrivacitySettings, account: str, session: str) -> Verdict:
    """Make the call, and try again as configured. Raises SidecarError when it cannot even be made."""
    if settings.base_url is None:
        what = "logout.after_app_logout.strivacity.base_url is not set: there is no API to call"
        raise NotConfigured("provider_logout_off", what)
    return _verdict(asyncio.run(_end(settings, account, session)))


async def _end(settings: StrivacitySettings, account: str, session: str) -> Answer:
    async with contextlib.AsyncExitStack() as stack:
        api = await open_admin_api(stack, settings)
        return await ProviderLogouts(api.end_session, wait_s=0.0, attempts=settings.attempts).attempt(account, session)


def _verdict(answer: Answer) -> Verdict:
    parts = [f"{_VERDICTS[answer.outcome]} ({answer.reason})"]
    if answer.outcome is Outcome.FORBIDDEN:
        parts = [f"{_VERDICTS[answer.outcome]} {answer.advice} ({answer.reason})"]
    elif answer.advice is not None:
        parts.append(answer.advice)
    told = answer.problem.as_fields()
    if told:
        parts.append(f"the provider says: {json.dumps(told)}")
    return Verdict("\n".join(parts), answer.outcome.is_done)
