"""The demo played by itself: log in, end one session at the provider, see it refused and nobody else disturbed.

Each step is timed and printed. The first expectation that does not hold ends the check with its reason.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from sidecar import clock
from sidecar.demo.browser import Browser, Page
from sidecar.demo.site import Site
from sidecar.errors import SidecarError

STREAM_CUT_LIMIT_S = 1.0  # bodies that flow are cut within a second


class ExpectationFailed(SidecarError):
    """The demo did not do what it promises."""


class Timeline:
    """Prints one line per step: what happened, how long it took, and when since the start."""

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._start = clock.boot()
        say(f"{'step':<62}{'took':>12}{'at':>12}")

    @asynccontextmanager
    async def step(self, text: str) -> AsyncIterator[None]:
        """Time what happens inside; a failure names the step."""
        begun = clock.boot()
        try:
            yield
        except (ExpectationFailed, LookupError, aiohttp.ClientError, TimeoutError) as error:
            raise ExpectationFailed("expectation_failed", f"{text}: {str(error) or type(error).__name__}") from error
        now = clock.boot()
        self._say(f"{text:<62}{(now - begun) * 1000:>9.1f} ms{(now - self._start) * 1000:>9.1f} ms")


async def play(site: Site, *, say: Callable[[str], None]) -> None:
    """Play the whole story, or raise ExpectationFailed."""
    timeline = Timeline(say=say)
    async with AsyncExitStack() as stack:
        laptop = await stack.enter_async_context(Browser(name="Alice's laptop"))
        phone = await stack.enter_async_context(Browser(name="Alice's phone"))
        desk = await stack.enter_async_context(Browser(name="Bob's desk"))
        admin = await stack.enter_async_context(Browser(name="Administrator"))
        for browser, user, what in (
            (laptop, "Alice", "Alice logs in on her laptop"),
            (phone, "Alice", "Alice logs in on her phone"),
            (desk, "Bob", "Bob logs in"),
        ):
            async with timeline.step(what):
                await _log_in(site, browser, user)
        async with timeline.step("all three see the private page"):
            await _sees_private_page(site, laptop, phone, desk)
        async with timeline.step("the laptop opens a stream of events"):
            stream = await laptop.stream(site.public / "events")
            stack.callback(stream.close)
            _expect(await stream.content.readline() != b"", "the stream says nothing")
        stale = dict(laptop.cookies(site.public))

        async with timeline.step("the administrator ends the laptop's session at the provider"):
            await _end_first_session(site, admin)
        async with timeline.step("the laptop's next request is refused"):
            await _is_refused(site, laptop)
        async with timeline.step("the laptop's open stream is cut"):
            await _is_cut(stream)
        async with timeline.step("the app alone would still have let it in"):
            laptop.cookies(site.direct).update(stale)
            _expect_greeting(await laptop.open(site.direct / "private"), "Alice")
        async with timeline.step("Alice's phone and Bob go on undisturbed"):
            await _sees_private_page(site, phone, desk)
        async with timeline.step("Alice logs in on her laptop again"):
            await _log_in(site, laptop, "Alice")
        async with timeline.step("the old cookie stays refused"):
            laptop.cookies(site.public).update(stale)
            await _is_refused(site, laptop)


async def _log_in(site: Site, browser: Browser, user: str) -> None:
    page = await browser.open(site.public / "private")
    _expect(page.url.origin() == site.issuer.origin(), f"not sent to the provider but to {page.url.path}", page)
    _expect_greeting(await browser.press(page, f"Log in as {user}"), user)


async def _sees_private_page(site: Site, *browsers: Browser) -> None:
    for browser in browsers:
        page = await browser.open(site.public / "private")
        _expect(page.status == 200 and "Hello" in page.text, "the private page is not shown", page)


async def _end_first_session(site: Site, admin: Browser) -> None:
    """The laptop was the first to log in, so its button comes first."""
    before = len(site.provider.sessions)
    await admin.press(await admin.open(site.issuer / "sessions"), "End this session")
    _expect(len(site.provider.sessions) == before - 1, "the provider did not end one session")
    outcomes = [delivery.outcome for delivery in site.provider.deliveries]
    _expect(outcomes == ["200"], f"the logout token was answered {outcomes}, expected one 200")


async def _is_refused(site: Site, browser: Browser) -> None:
    page = await browser.open(site.public / "private")
    _expect(page.status == 401 and "Hello" not in page.text, "the ended session is not refused", page)


async def _is_cut(stream: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(STREAM_CUT_LIMIT_S):
            while await stream.content.readline():
                pass
    except aiohttp.ClientError:
        return  # cut in the middle of a chunk, as a stream should be that is not complete
    except TimeoutError:
        raise ExpectationFailed("stream_open", f"the stream is still open after {STREAM_CUT_LIMIT_S:.0f} s") from None


def _expect_greeting(page: Page, user: str) -> None:
    _expect(page.status == 200 and f"Hello {user}" in page.text, f"{user} does not see the private page", page)


def _expect(truth: bool, otherwise: str, page: Page | None = None) -> None:  # noqa: FBT001 - reads as an assertion
    if not truth:
        where = f" (status {page.status} at {page.url.origin()}{page.url.path})" if page else ""
        raise ExpectationFailed("expectation_failed", otherwise + where)
