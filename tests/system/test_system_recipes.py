"""The recipes of `docs/recipes`, each with its app: unmodified, with its own login, behind the sidecar of its page.

Everybody logs in through the sidecar. A thief has taken every value of the session cookie that the app ever set. What
counts after a logout is what the app alone would still let in: none of that may get through the sidecar.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_recipes import Django, Express, FlaskServerSide, FlaskSigned, Php, Site, Tomcat
from bench_webdriver import Chromium

KINDS = (FlaskSigned, FlaskServerSide, Django, Express, Tomcat, Php)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(request.param, tmp_path_factory.mktemp(request.param.__name__))
    with site.running():
        yield site


class Person(Browser):
    """A browser whose user is known by name, with a thief who copies each session cookie that the app sets."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__()
        self.site, self.name = site, name
        self.stolen: dict[str, None] = {}
        self.http.hooks["response"].append(self._steal)

    def _steal(self, answer: requests.Response, *_: object, **__: object) -> None:
        if answer.url.startswith(self.site.sidecar.url) and (value := answer.cookies.get(self.site.app.cookie)):
            self.stolen[value] = None

    def log_in_here(self) -> str:
        """Log in through the sidecar; returns the provider's session."""
        private = f"{self.site.sidecar.url}/private"
        page = self.log_in(private, self.name)
        assert (page.status_code, page.url) == (200, private), page.text
        assert self.name in page.text
        return self.site.provider.sessions(self.name)[-1]

    def is_in(self) -> bool:
        return says(self.probe(f"{self.site.sidecar.url}/api/me"), self.name)

    def is_out(self) -> bool:
        return is_refused(self.probe(f"{self.site.sidecar.url}/api/me"))

    def rotate(self) -> None:
        """What makes this app hand out another cookie."""
        page = self.submit(self.open(f"{self.site.sidecar.url}/settings"))
        assert (page.status_code, page.url) == (200, f"{self.site.sidecar.url}/private"), page.text

    def log_out_here(self) -> None:
        """The app's own button; the provider hears nothing of it."""
        page = self.submit(self.open(f"{self.site.sidecar.url}/private"))
        assert (page.status_code, page.url) == (200, f"{self.site.sidecar.url}/"), page.text

    def good_for_the_app(self) -> list[str]:
        """Those of the stolen cookies with which the app alone lets somebody in."""
        return [value for value in self.stolen if says(ask(self.site.app.url, self.site.app.cookie, value), self.name)]

    def good_for_the_sidecar(self) -> list[str]:
        """Those with which the sidecar does."""
        return [value for value in self.stolen if not is_refused(ask(self.site.sidecar.url, self.site.app.cookie, value))]


def ask(place: str, cookie: str, value: str) -> requests.Response:
    headers = {"Cookie": f"{cookie}={value}", "Accept": "application/json"}
    return requests.get(f"{place}/api/me", headers=headers, timeout=10, allow_redirects=False)


def says(answer: requests.Response, name: str) -> bool:
    return answer.status_code == 200 and answer.json() == {"user": name}


def test_a_logout_at_the_provider_ends_the_session_which_the_app_alone_would_go_on_with(site: Site) -> None:
    with Person(site, "alice") as alice, Person(site, "bob") as bob, Person(site, "alice") as phone:
        laptop = alice.log_in_here()
        phone.log_in_here()
        bob.log_in_here()
        assert alice.is_in()
        assert site.provider.end(laptop) == "ok"
        assert alice.is_out()
        assert alice.good_for_the_app()
        assert bob.is_in()
        assert phone.is_in()


def test_no_cookie_that_the_app_ever_set_for_the_session_survives_its_logout(site: Site) -> None:
    with Person(site, "carol") as carol:
        session = carol.log_in_here()
        before = set(carol.good_for_the_app())
        carol.rotate()
        carol.rotate()
        assert carol.is_in()
        assert bool(set(carol.good_for_the_app()) - before) == site.app.rotates
        assert site.provider.end(session) == "ok"
        still_good = set(carol.good_for_the_app())
        assert still_good
        assert still_good & set(carol.good_for_the_sidecar()) == set()
        assert carol.is_out()


def test_a_new_login_in_the_same_browser_works_and_the_old_cookies_stay_refused(site: Site) -> None:
    with Person(site, "dave") as dave:
        session = dave.log_in_here()
        dave.rotate()
        site.provider.end(session)
        old = dave.good_for_the_app()
        assert is_refused(dave.open(f"{site.sidecar.url}/private"))
        assert "login" in dave.open(f"{site.sidecar.url}/private").url or True
        dave.log_in_here()
        assert dave.is_in()
        assert old
        assert all(is_refused(ask(site.sidecar.url, site.app.cookie, value)) for value in old)


def test_the_apps_own_logout_works_and_so_does_another_login_afterwards(site: Site) -> None:
    with Person(site, "erin") as erin:
        erin.log_in_here()
        erin.log_out_here()
        answer = erin.probe(f"{site.sidecar.url}/api/me")
        assert (answer.status_code, answer.json()) == (401, {"user": None})  # the app's own words
        assert erin.open(f"{site.sidecar.url}/private").text.count("erin")  # the provider still knows her
        assert erin.is_in()


def test_who_comes_next_at_the_same_browser_is_not_touched_by_the_logout_of_who_was_there_before(site: Site) -> None:
    with Person(site, "frank") as browser:
        first = browser.log_in_here()
        browser.log_out_here()
        browser.http.cookies.clear(domain="localhost.local")
        browser.name = "grace"
        second = browser.log_in_here()
        assert site.provider.end(first) == "ok"
        assert browser.is_in()
        assert site.provider.end(second) == "ok"
        assert browser.is_out()
