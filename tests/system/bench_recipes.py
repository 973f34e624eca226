"""The apps of `docs/recipes`, each a real process, behind a sidecar with the configuration that its recipe shows.

Only addresses, the provider and the store of a recipe are replaced. All apps show the same face: `/private` needs a
login and has the button of the app's own logout, `/api/me` says who it is, `/settings` has a button that rotates the
session where the stack does so.
"""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from bench_process import Process, free_port
from bench_stack import (
    CLIENT_ID,
    CLIENT_SECRET,
    HERE,
    Provider,
    Sidecar,
    client,
    configuration,
    install_packages,
    merged,
    program,
    started,
    status_of,
)

RECIPES = HERE.parents[1] / "docs" / "recipes"
TOMCAT = Path("/usr/share/tomcat10")


def block(name: str, language: str) -> str:
    """The first block of a language on the page of this recipe."""
    found = re.search(rf"^```{language}\n(.*?)^```$", (RECIPES / f"{name}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/recipes/{name}.md has no {language}"
    return found[1]


def recipe(name: str) -> dict[str, Any]:
    """The sidecar's configuration on the page of this recipe."""
    whole: dict[str, Any] = yaml.safe_load(block(name, "yaml"))
    return whole


@dataclass(frozen=True)
class Place:
    """Where an app runs, and what an operator tells it."""

    folder: Path
    port: int
    issuer: str
    relay: str
    base_url: str  # where browsers find it


class RecipeApp(Process):
    """An app of a recipe."""

    recipe: ClassVar[str]
    login: ClassVar[str] = "/login"
    callback: ClassVar[str] = "/oidc/callback"
    cookie: ClassVar[str]
    rotates: ClassVar[bool] = True  # with `/settings`; every one of these stacks has a new cookie after the login
    forgets_nothing: ClassVar[bool] = False  # the session is in the cookie: who has a copy has the session
    targets: ClassVar[tuple[str, ...]] = ()  # where else than in a cookie this app takes the id from
    metadata: ClassVar[dict[str, Any]] = {"token_endpoint_auth_method": "client_secret_basic"}

    def __init__(self, place: Place) -> None:
        super().__init__(self.command_line(place), name="app", folder=place.folder, env=self.settings(place))
        self.url = f"http://127.0.0.1:{place.port}"

    def command_line(self, place: Place) -> Sequence[str | Path]:
        """What is run."""
        raise NotImplementedError

    def settings(self, place: Place) -> dict[str, str]:
        """What an operator sets in the environment."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        return status_of(f"{self.url}/api/me") == 401


class FlaskSigned(RecipeApp):
    """Flask with Authlib; the session is in the cookie, signed."""

    recipe, cookie, forgets_nothing = "flask", "session", True

    def command_line(self, place: Place) -> Sequence[str | Path]:
        return [sys.executable, HERE / "apps" / "flask_app.py", str(place.port)]

    def settings(self, place: Place) -> dict[str, str]:
        return {
            "FLASK_SECRET_KEY": "made up for tests",
            "FLASK_OIDC_CLIENT_ID": CLIENT_ID,
            "FLASK_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "FLASK_OIDC_SERVER_METADATA_URL": f"{place.issuer}/.well-known/openid-configuration",
            "FLASK_OIDC_ACCESS_TOKEN_URL": f"{place.relay}/token",
        }


class FlaskServerSide(FlaskSigned):
    """Flask with Authlib and Flask-Session on files."""

    rotates, forgets_nothing = False, False

    def settings(self, place: Place) -> dict[str, str]:
        return super().settings(place) | {"FLASK_SESSION_FOLDER": str(place.folder / "sessions")}


class Django(RecipeApp):
    """Django with mozilla-django-oidc."""

    recipe, cookie, login, callback = "django", "sessionid", "/oidc/authenticate/", "/oidc/callback/"
    metadata: ClassVar[dict[str, Any]] = {"token_endpoint_auth_method": "client_secret_post"}

    def command_line(self, place: Place) -> Sequence[str | Path]:
        return [sys.executable, HERE / "apps" / "django_app.py", str(place.port)]

    def settings(self, place: Place) -> dict[str, str]:
        return {
            "SITE_FOLDER": str(place.folder),
            "OIDC_RP_CLIENT_ID": CLIENT_ID,
            "OIDC_RP_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{place.issuer}/auth",
            "OIDC_OP_TOKEN_ENDPOINT": f"{place.relay}/token",
            "OIDC_OP_USER_ENDPOINT": f"{place.issuer}/me",
            "OIDC_OP_JWKS_ENDPOINT": f"{place.issuer}/jwks",
        }


class Express(RecipeApp):
    """Express with express-session and openid-client."""

    recipe, cookie, callback = "express", "connect.sid", "/auth/callback"
    metadata: ClassVar[dict[str, Any]] = {"token_endpoint_auth_method": "client_secret_post"}

    def command_line(self, place: Place) -> Sequence[str | Path]:
        return [program("node"), HERE / "apps" / "express" / "session_app.js", str(place.port)]

    def start(self) -> None:
        install_packages(HERE / "apps" / "express")
        super().start()

    def settings(self, place: Place) -> dict[str, str]:
        return {
            "BASE_URL": place.base_url,
            "OIDC_ISSUER": place.issuer,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_TOKEN_ENDPOINT": f"{place.relay}/token",
        }


class ExpressCookie(Express):
    """Express with express-openid-connect: the session is an encrypted cookie, made anew with every answer."""

    recipe, cookie, callback = "express-openid-connect", "appSession", "/callback"
    forgets_nothing = True

    def command_line(self, place: Place) -> Sequence[str | Path]:
        return [program("node"), HERE / "apps" / "express" / "cookie_app.js", str(place.port)]

    def settings(self, place: Place) -> dict[str, str]:
        module = place.folder / "relay.mjs"
        module.write_text(block(self.recipe, "js"))
        return {
            "BASE_URL": place.base_url,
            "ISSUER_BASE_URL": place.issuer,
            "CLIENT_ID": CLIENT_ID,
            "CLIENT_SECRET": CLIENT_SECRET,
            "SECRET": f"made up for the app on port {place.port}",
            "NODE_OPTIONS": f"--import={module}",
            "RESPONSE_TYPE": "code",
            "RESPONSE_MODE": "query",
            "OIDC_TOKEN_ENDPOINT": f"{place.issuer}/token",
            "OIDC_RELAY": f"{place.relay}/token",
        }


class ExpressFormPost(ExpressCookie):
    """The same; the browser posts the code to the callback."""

    def settings(self, place: Place) -> dict[str, str]:
        return super().settings(place) | {"RESPONSE_MODE": "form_post"}


class ExpressIdToken(ExpressCookie):
    """The same with the library's own defaults: the browser posts the ID token, and there is no code."""

    metadata: ClassVar[dict[str, Any]] = {
        "response_types": ["id_token"],
        "grant_types": ["implicit"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",  # http is allowed to these alone
    }

    def settings(self, place: Place) -> dict[str, str]:
        names = ("BASE_URL", "ISSUER_BASE_URL", "CLIENT_ID", "SECRET")
        return {name: super(ExpressIdToken, self).settings(place)[name] for name in names}


class Tomcat(RecipeApp):
    """A servlet in Debian's Tomcat, with a home of its own and no service."""

    recipe, cookie = "tomcat", "JSESSIONID"
    targets = (
        "/api/me;jsessionid={}",
        "/;jsessionid={}/api/me",
        "/api;jsessionid={}/me",
        "/api/me;a=b;jsessionid={}",
        "/api/me;jsessionid={};a",
    )

    def command_line(self, place: Place) -> Sequence[str | Path]:
        if not TOMCAT.exists():
            pytest.skip("tomcat10 is not installed")
        base = _tomcat_base(place.folder)
        jars = f"{TOMCAT}/bin/bootstrap.jar:{TOMCAT}/bin/tomcat-juli.jar"
        properties = {
            "catalina.home": TOMCAT,
            "catalina.base": base,
            "java.io.tmpdir": base,
            "app.port": place.port,
            "base.url": place.base_url,
            "oidc.issuer": place.issuer,
            "oidc.tokenUrl": f"{place.relay}/token",
            "oidc.clientId": CLIENT_ID,
            "oidc.clientSecret": CLIENT_SECRET,
        }
        options = [f"-D{name}={value}" for name, value in properties.items()]
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"]
        return [program("java"), *quick, *options, "-cp", jars, "org.apache.catalina.startup.Bootstrap", "start"]

    def settings(self, place: Place) -> dict[str, str]:
        return {}


def _tomcat_base(folder: Path) -> Path:
    """A CATALINA_BASE with the app in it, compiled."""
    base, source = folder / "tomcat", HERE / "apps" / "tomcat"
    classes = base / "webapps" / "ROOT" / "WEB-INF" / "classes"
    for needed in (base / "conf", base / "logs", classes):
        needed.mkdir(parents=True)
    (base / "conf" / "server.xml").write_bytes((source / "server.xml").read_bytes())
    (classes.parent / "web.xml").write_bytes((source / "web.xml").read_bytes())
    command = [program("javac"), "-cp", TOMCAT / "lib" / "servlet-api.jar", "-d", classes, source / "LegacyApp.java"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert result.returncode == 0, result.stderr
    return base


class Php(RecipeApp):
    """PHP with its native sessions, in the way of old sites: the id may stand in the URL as well."""

    recipe, cookie = "php", "PHPSESSID"
    targets = ("/api/me?PHPSESSID={}", "/api/me?a=b&PHPSESSID={}", "/api/me?%50HPSESSID={}")
    metadata: ClassVar[dict[str, Any]] = {"token_endpoint_auth_method": "client_secret_post"}

    def command_line(self, place: Place) -> Sequence[str | Path]:
        sessions = place.folder / "php-sessions"
        sessions.mkdir()
        options = {
            "session.save_path": str(sessions),
            "session.use_strict_mode": "1",
            "session.use_only_cookies": "0",
            "session.gc_probability": "0",
        }
        words = [word for name, value in options.items() for word in ("-d", f"{name}={value}")]
        return [program("php"), *words, "-S", f"127.0.0.1:{place.port}", HERE / "apps" / "php" / "index.php"]

    def settings(self, place: Place) -> dict[str, str]:
        return {
            "BASE_URL": place.base_url,
            "OIDC_ISSUER": place.issuer,
            "OIDC_TOKEN_URL": f"{place.relay}/token",
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
        }


class Site:
    """A provider, an app and the sidecar of its recipe."""

    def __init__(self, kind: type[RecipeApp], folder: Path, **sections: Any) -> None:
        """`sections` replace keys of the recipe."""
        provider_port, app_port, relay_port = free_port(), free_port(), free_port()
        issuer = f"http://localhost:{provider_port}"
        places = configuration(issuer=issuer, app=app_port, relay=relay_port, store=f"sqlite:///{folder / 'state.db'}")
        del places["session"], places["enforcement"]  # these are the recipe's
        config = merged(merged(recipe(kind.recipe), places), sections)
        self.sidecar = Sidecar(config, name="sidecar", folder=folder)
        self.app = kind(Place(folder, app_port, issuer, self.sidecar.relay, self.sidecar.url))
        registered = client([f"{self.sidecar.url}{kind.callback}"], logout_uri=self.sidecar.logout_url, **kind.metadata)
        self.provider = Provider(folder=folder, port=provider_port, clients=[registered])

    @contextlib.contextmanager
    def running(self) -> Iterator["Site"]:
        """All of them, ready."""
        with started(self.provider, self.app, self.sidecar):
            yield self
