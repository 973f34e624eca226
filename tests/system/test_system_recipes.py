"""The recipes of `docs/recipes`, each with its app: unmodified, with its own login, behind the sidecar of its page.

Everybody logs in through the sidecar. A thief has taken every value of the session cookie that the app ever set. What
counts after a logout is what the app alone would still let in: none of that may get through the sidecar.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_recipes import (
    Django,
    Express,
    ExpressCookie,
    ExpressFormPost,
    ExpressIdToken,
    FlaskServerSide,
    FlaskSigned,
    Php,
    RecipeApp,
    Site,
    Tomcat,
)
from bench_spellings import fetch, spellings
from bench_webdriver import Chromium

KINDS = (FlaskSigned, FlaskServerSide, Django, Express, ExpressCookie, Tomcat, Php)
POSTED = (ExpressFormPost, ExpressIdToken)  # other ways to log in, with an app of these


def name_of(kind: type[RecipeApp]) -> str:
    return kind.__name__


however_they_log_in = pytest.mark.parametrize("site", [*KINDS, *POSTED], indirect=True, ids=name_of)


@pytest.fixture(scope="module", params=KINDS, ids=name_of)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(request.param, tmp_path_factory.mktemp(request.param.__name__))
    with site.running():
        yield site


class Person(Browser):
    """A browser whose user is known by name, with a thief who reads every Cookie header that it sends."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__()
        self.site, self.name = site, name
        self.stolen: dict[str, None] = {}
        self.http.hooks["response"].append(self._steal)

    def _steal(self, answer: requests.Response, *_: object, **__: object) -> None:
        if answer.url.startswith(self.site.sidecar.url) and (header := answer.request.headers.get("Cookie")):
            self.stolen[header] = None

    def log_in_here(self) -> str:
        """Log in through the sidecar; returns the provider's session."""
        private = f"{self.site.sidecar.url}/private"
        page = self.log_in(private, self.name)
        assert (page.status_code, page.url) == (200, private), page.text
        assert self.name in page.text
        return self.site.provider.sessions(self.name)[-1]

    def cookie(self) -> str:
        """The value of the session cookie."""
        values = {cookie.name: cookie.value for cookie in self.http.cookies if cookie.domain == "127.0.0.1"}
        return values[self.site.app.cookie] or ""

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

    def good_for_the_app(self) -> set[str]:
        """Those of the stolen headers with which the app alone lets somebody in."""
        return {header for header in self.stolen if says(ask(self.site.app.url, header), self.name)}


def ask(place: str, header: str) -> requests.Response:
    headers = {"Cookie": header, "Accept": "application/json"}
    return requests.get(f"{place}/api/me", headers=headers, timeout=10, allow_redirects=False)


def says(answer: requests.Response, name: str) -> bool:
    return answer.status_code == 200 and answer.json() == {"user": name}


def all_refused(site: Site, headers: set[str]) -> bool:
    """Whether the sidecar refuses all of them; that there are any is part of the claim."""
    return bool(headers) and all(is_refused(ask(site.sidecar.url, header)) for header in headers)


@however_they_log_in
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


@however_they_log_in
def test_no_cookie_that_the_app_ever_took_for_the_session_survives_its_logout(site: Site) -> None:
    with Person(site, "carol") as carol:
        session = carol.log_in_here()
        before = carol.cookie_header()
        for _ in range(3):
            carol.rotate()
            assert carol.is_in()
        assert (carol.cookie_header() != before) == site.app.rotates
        assert site.provider.end(session) == "ok"
        assert all_refused(site, carol.good_for_the_app())
        assert carol.is_out()


@however_they_log_in
def test_a_new_login_in_the_same_browser_works_and_the_old_cookies_stay_refused(site: Site) -> None:
    with Person(site, "dave") as dave:
        session = dave.log_in_here()
        dave.rotate()
        site.provider.end(session)
        old = dave.good_for_the_app()
        assert is_refused(dave.open(f"{site.sidecar.url}/private"))
        dave.log_in_here()
        assert dave.is_in()
        assert all_refused(site, old)


def test_the_apps_own_logout_works_and_so_does_another_login_afterwards(site: Site) -> None:
    with Person(site, "erin") as erin:
        erin.log_in_here()
        erin.log_out_here()
        answer = erin.probe(f"{site.sidecar.url}/api/me")
        assert (answer.status_code, answer.json()) == (401, {"user": None})  # the app's own words
        assert "erin" in erin.open(f"{site.sidecar.url}/private").text  # the provider still knows her
        assert erin.is_in()


def test_a_copy_of_the_cookie_from_before_the_apps_own_logout_dies_with_the_providers_session(site: Site) -> None:
    """An app that keeps its session in the cookie cannot take a copy back."""
    with Person(site, "heidi") as heidi:
        session = heidi.log_in_here()
        heidi.log_out_here()
        copies = heidi.good_for_the_app()
        assert bool(copies) == site.app.forgets_nothing
        site.provider.end(session)
        assert not copies or all_refused(site, copies)


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


def log_in_on_top(site: Site, browser: Person) -> tuple[str, str]:
    """Two people at one browser, the second without a logout of the first; their sessions at the provider."""
    first = browser.log_in_here()
    browser.http.cookies.clear(domain="localhost.local")
    browser.name = "peggy"
    browser.log_in(f"{site.sidecar.url}{site.app.login}", "peggy")
    assert browser.is_in()
    (second,) = site.provider.sessions("peggy")
    return first, second


def test_a_login_on_top_of_a_living_session_is_a_session_of_its_own(site: Site) -> None:
    with Person(site, "oscar") as browser:
        first, second = log_in_on_top(site, browser)
        assert site.provider.end(first) == "ok"
        assert browser.is_in()
        assert site.provider.end(second) == "ok"
        assert browser.is_out()


@pytest.mark.parametrize("site", [ExpressIdToken], indirect=True, ids=name_of)
def test_where_the_browser_brings_the_id_token_such_a_login_ends_with_either(site: Site) -> None:
    """Anybody can post a token that is theirs, so that it takes no session away (decision 018)."""
    with Person(site, "oscar") as browser:
        first, _ = log_in_on_top(site, browser)
        assert site.provider.end(first) == "ok"
        assert browser.is_out()


def test_no_spelling_that_the_app_reads_as_the_session_gets_past_its_logout(site: Site) -> None:
    with Person(site, "judy") as judy:
        session = judy.log_in_here()
        every = dict(spellings(site.app.cookie, judy.cookie()))
        site.provider.end(session)
    good = {label: lines for label, lines in every.items() if "judy" in fetch(site.app.url, "/api/me", lines)[1]}
    assert len(good) > 10
    words = {label: fetch(site.sidecar.url, "/api/me", lines)[0] for label, lines in good.items()}
    assert {label: word for label, word in words.items() if word not in {"revoked", "ambiguous_credential"}} == {}


@pytest.mark.parametrize("site", [Tomcat, Php], indirect=True, ids=name_of)
def test_the_id_in_the_url_ends_with_the_session(site: Site) -> None:
    with Person(site, "mallory") as mallory:
        session = mallory.log_in_here()
        targets = [target.format(mallory.cookie()) for target in site.app.targets]
        assert targets
        assert all("mallory" in fetch(site.sidecar.url, target)[1] for target in targets)
        site.provider.end(session)
    assert all("mallory" in fetch(site.app.url, target)[1] for target in targets)
    assert {fetch(site.sidecar.url, target)[0] for target in targets} == {"revoked"}


@pytest.mark.parametrize("kind", [FlaskSigned, Django, ExpressCookie, Tomcat, Php], ids=name_of)
def test_people_log_in_where_what_is_unknown_is_refused(kind: type[RecipeApp], tmp_path: Path) -> None:
    """Nearly all of these apps give a session cookie to the visitor that they send to the provider."""
    site = Site(kind, tmp_path, session={"unbound": "deny"})
    with site.running(), Person(site, "quentin") as quentin, Person(site, "quentin") as thief:
        session = quentin.log_in_here()
        quentin.rotate()
        assert quentin.is_in()
        thief.http.cookies.set(site.app.cookie, "a" * 32, domain="127.0.0.1", path="/")
        word, _ = fetch(site.sidecar.url, "/api/me", [thief.cookie_header()])
        assert word == "unbound_credential"
        site.provider.end(session)
        assert is_refused(quentin.open(f"{site.sidecar.url}/private"))
        quentin.log_in_here()
        assert quentin.is_in()


def test_the_id_in_a_form_ends_with_the_session_where_that_is_declared(tmp_path: Path) -> None:
    site = Site(Php, tmp_path, session={"credentials": [{"cookie": "PHPSESSID"}, {"form_field": "PHPSESSID"}]})
    with site.running(), Person(site, "niaj") as niaj:
        session = niaj.log_in_here()
        form = {"PHPSESSID": niaj.cookie()}
        assert says(requests.post(f"{site.sidecar.url}/api/me", data=form, timeout=10), "niaj")
        site.provider.end(session)
        assert says(requests.post(f"{site.app.url}/api/me", data=form, timeout=10), "niaj")
        assert is_refused(requests.post(f"{site.sidecar.url}/api/me", data=form, timeout=10))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(folder=tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def test_a_person_with_a_real_browser_is_logged_out_and_can_log_in_again(site: Site, chromium: Chromium) -> None:
    """With one profile for all apps, so that each gets the cookies of the others on this host as well."""
    chromium.open(f"{site.sidecar.url}/private")
    chromium.type("#user", "olivia")
    chromium.click("#login")
    chromium.wait_for_text("#who", "olivia")
    chromium.open(f"{site.sidecar.url}/settings")
    chromium.click("button")
    chromium.wait_for_text("#who", "olivia")
    for session in site.provider.sessions("olivia"):
        site.provider.end(session)
    chromium.open(f"{site.sidecar.url}/private")
    chromium.wait_for_text("h1", "You have been signed out")
    chromium.click("a[href]")
    chromium.type("#user", "olivia")
    chromium.click("#login")
    chromium.wait_for_text("#who", "olivia")


def test_with_strip_the_app_sees_a_stranger_whatever_carries_the_session(tmp_path: Path) -> None:
    for kind in (ExpressCookie, Php):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        site = Site(kind, folder, enforcement={"action": "strip"})
        with site.running(), Person(site, "rupert") as rupert:
            session = rupert.log_in_here()
            rupert.rotate()
            targets = [target.format(rupert.cookie()) for target in kind.targets]
            site.provider.end(session)
            assert rupert.good_for_the_app()
            for target in ("/api/me", *targets):
                word, body = fetch(site.sidecar.url, target, [rupert.cookie_header()])
                assert (word, "rupert" in body, "user" in body) == ("", False, True), target


def test_a_cookie_that_is_new_with_every_answer_is_known_to_every_worker(tmp_path: Path) -> None:
    site = Site(ExpressCookie, tmp_path, workers=2)
    with site.running(), Person(site, "sybil") as sybil:
        session = sybil.log_in_here()
        for _ in range(10):
            sybil.http.headers["Connection"] = "close"  # the next one may come to the other worker
            sybil.fetch(f"{site.sidecar.url}/api/me")
            assert sybil.is_in()
        site.provider.end(session)
        assert len(sybil.stolen) > 10
        assert all_refused(site, sybil.good_for_the_app())
