"""The main job, end to end: a logout at the provider ends the session of an app that knows nothing of it.

Certified provider, Flask app with Authlib and server-side sessions, one sidecar with the embedded store.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from bench_browser import Browser, is_refused, seconds_until_cut
from bench_stack import COOKIE, Cast


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    cast = Cast(tmp_path_factory.mktemp("logout"))
    with cast.running():
        yield cast


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def other() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def is_in(cast: Cast, browser: Browser, user: str) -> bool:
    answer = browser.probe(f"{cast.sidecar.url}/api/me")
    return answer.status_code == 200 and answer.json() == {"user": user}


def is_out(cast: Cast, browser: Browser) -> bool:
    return is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))


def log_in(cast: Cast, browser: Browser, user: str) -> str:
    """Log in through the sidecar; returns the provider's session."""
    page = browser.log_in(f"{cast.sidecar.url}/private", user)
    assert (page.status_code, page.url) == (200, f"{cast.sidecar.url}/private"), page.text
    return cast.provider.sessions(user)[-1]


def test_a_login_through_the_sidecar_works(cast: Cast, browser: Browser) -> None:
    log_in(cast, browser, "alice")
    assert is_in(cast, browser, "alice")
    assert "<p id='who'>alice</p>" in browser.open(f"{cast.sidecar.url}/private").text


def test_the_apps_own_data_passes_unchanged(cast: Cast, browser: Browser) -> None:
    data = bytes(range(256)) * 2000
    answer = browser.http.post(f"{cast.sidecar.url}/api/echo", data=data, timeout=10)
    assert answer.content == data


def test_after_a_logout_at_the_provider_the_next_request_is_refused(cast: Cast, browser: Browser) -> None:
    uid = log_in(cast, browser, "bob")
    assert cast.provider.end(uid) == "ok"
    assert is_out(cast, browser)


def test_the_app_alone_would_have_let_the_request_in(cast: Cast, browser: Browser) -> None:
    """Without this the test above could pass for the wrong reason."""
    uid = log_in(cast, browser, "carol")
    cast.provider.end(uid)
    direct = requests.get(f"{cast.app.url}/api/me", headers={"Cookie": browser.cookie_header()}, timeout=5)
    assert direct.json() == {"user": "carol"}


def test_a_person_gets_a_page_that_says_what_happened_and_a_program_gets_a_problem(
    cast: Cast, browser: Browser
) -> None:
    cast.provider.end(log_in(cast, browser, "dora"))
    problem = browser.probe(f"{cast.sidecar.url}/api/me")
    page = browser.open(f"{cast.sidecar.url}/private")
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert problem.json()["status"] == 401
    assert page.status_code == 401
    assert page.headers["Content-Type"].startswith("text/html")
    assert '<html lang="en">' in page.text
    assert 'href="/login"' in page.text
    assert page.headers["Cache-Control"] == problem.headers["Cache-Control"] == "no-store"


def test_the_dead_cookie_is_taken_out_of_the_browser(cast: Cast, browser: Browser) -> None:
    cast.provider.end(log_in(cast, browser, "emil"))
    assert COOKIE in browser.cookie_header()
    browser.open(f"{cast.sidecar.url}/private")
    assert COOKIE not in browser.cookie_header()


def test_another_user_and_the_same_users_second_session_live_on(cast: Cast, browser: Browser, other: Browser) -> None:
    with Browser() as somebody:
        first = log_in(cast, browser, "frank")
        log_in(cast, other, "frank")
        log_in(cast, somebody, "grace")
        cast.provider.end(first)
        assert is_out(cast, browser)
        assert is_in(cast, other, "frank")
        assert is_in(cast, somebody, "grace")


def test_a_new_login_works_and_the_old_cookie_stays_refused(cast: Cast, browser: Browser, other: Browser) -> None:
    first = log_in(cast, browser, "heidi")
    other.steal_cookies_from(browser)
    cast.provider.end(first)
    assert is_refused(browser.open(f"{cast.sidecar.url}/private"))
    log_in(cast, browser, "heidi")
    assert is_in(cast, browser, "heidi")
    assert is_out(cast, other)


def test_many_people_log_in_and_are_logged_out_at_the_same_time(cast: Cast) -> None:
    """This app closes every connection behind its answer, also while the answer waits for the binding to be stored."""

    def one_person(number: int) -> str:
        with Browser() as browser:
            page = browser.log_in(f"{cast.sidecar.url}/private", f"person-{number}")
            if f"person-{number}" not in page.text:
                return f"login: {page.status_code} {page.headers.get('X-Logout-Sidecar')}"
            outcome = cast.provider.end(cast.provider.sessions(f"person-{number}")[0])
            return f"{outcome}, {'refused' if is_out(cast, browser) else 'still in'}"

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(one_person, range(64))) == {"ok, refused": 64}


def test_a_logout_in_the_users_own_browser_works_the_same(cast: Cast, browser: Browser) -> None:
    log_in(cast, browser, "ivan")
    browser.submit(browser.open(f"{cast.provider.issuer}/session/end"), logout="yes")
    assert is_out(cast, browser)


def test_an_open_stream_is_cut_within_a_second(cast: Cast, browser: Browser, other: Browser) -> None:
    first = log_in(cast, browser, "judy")
    log_in(cast, other, "judy")
    url = f"{cast.sidecar.url}/events"
    with (
        browser.http.get(url, stream=True, timeout=5) as stream,
        other.http.get(url, stream=True, timeout=5) as undisturbed,
    ):
        ticks, others = stream.iter_content(chunk_size=None), undisturbed.iter_content(chunk_size=None)
        assert next(ticks).startswith(b"data: ")
        cast.provider.end(first)
        assert seconds_until_cut(ticks) < 1.0
        for _ in range(3):
            assert next(others).startswith(b"data: ")


def test_the_log_and_the_metrics_show_the_logout_and_name_nobody(cast: Cast, browser: Browser) -> None:
    before = cast.sidecar.metric('logout_sidecar_logout_tokens_total{reason="ok",result="accepted"}')
    cast.provider.end(log_in(cast, browser, "malory"))
    after = cast.sidecar.metric('logout_sidecar_logout_tokens_total{reason="ok",result="accepted"}')
    assert after == before + 1
    lines = [line for line in cast.sidecar.output().splitlines() if '"logout_token"' in line]
    assert '"accepted"' in lines[-1]
    assert "malory" not in cast.sidecar.output()


GARBAGE = {
    "nothing": b"",
    "another field": b"token=x",
    "an empty token": b"logout_token=",
    "no token at all": b"logout_token=hello",
    "three empty parts": b"logout_token=..",
    "two tokens": b"logout_token=a.b.c&logout_token=a.b.c",
    "no header": b"logout_token=%00.%00.%00",
    "a header that is no object": b"logout_token=W10.W10.W10",
    "an unsigned token": b"logout_token=eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwOi8vbG9jYWxob3N0In0.",
    "bytes that are no text": b"logout_token=\xff\xfe\xfd",
    "broken percent signs": b"logout_token=%%%zz",
    "many fields": b"&".join(b"f%d=x" % number for number in range(2000)),
    "a long token": b"logout_token=" + b"A" * 60_000,
    "deep nesting": b"logout_token=" + b"W1tb" * 10_000 + b".W10.x",
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_garbage_at_the_logout_endpoint_is_refused_with_a_reason(cast: Cast, body: bytes) -> None:
    answer = cast.sidecar.post_logout(body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Traceback" not in cast.sidecar.output()


def test_too_much_garbage_is_refused_too(cast: Cast) -> None:
    answer = cast.sidecar.post_logout(b"logout_token=" + b"A" * 200_000)
    assert answer.status_code in {400, 413}
    assert "Traceback" not in cast.sidecar.output()


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data", "nonsense", ""])
def test_a_body_of_another_type_is_refused(cast: Cast, content_type: str) -> None:
    answer = cast.sidecar.post_logout(b'{"logout_token": "a.b.c"}', **{"Content-Type": content_type})
    assert answer.status_code == 400
    assert "Traceback" not in cast.sidecar.output()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_a_post_is_a_logout(cast: Cast, method: str) -> None:
    assert requests.request(method, cast.sidecar.logout_url, timeout=5).status_code == 405
