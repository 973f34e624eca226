"""A Django site with mozilla-django-oidc and Django's own sessions, in one file.

It knows nothing of back-channel logout or of a sidecar. What an operator may set is in the environment, under the
names of mozilla-django-oidc's settings; `OIDC_OP_TOKEN_ENDPOINT` is the one that changes when the sidecar comes.
`SITE_FOLDER` is where the database lives.

Usage: django_app.py PORT. Ends when its standard input does, so that it never outlives a test run.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.middleware.csrf import get_token
from werkzeug.serving import WSGIRequestHandler, make_server

# The site is the module below, under whatever name Python runs it.
settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="made up for tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ["SITE_FOLDER"]) / "site.sqlite3"}
    },
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MIGRATION_MODULES=dict.fromkeys(("auth", "contenttypes", "sessions")),  # a new database, without its history
    LOGIN_URL="/oidc/authenticate/",
    LOGIN_REDIRECT_URL="/private",
    LOGOUT_REDIRECT_URL="/",
    OIDC_RP_SIGN_ALGO="RS256",
    OIDC_USERNAME_ALGO=f"{__name__}.username",
    **{name: value for name, value in os.environ.items() if name.startswith("OIDC_")},
)
django.setup()

from django.contrib.auth import update_session_auth_hash  # noqa: E402 - needs the settings
from django.contrib.auth.decorators import login_required  # noqa: E402 - needs the settings
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402 - needs the settings
from django.shortcuts import redirect  # noqa: E402 - needs the settings
from django.urls import include, path  # noqa: E402 - needs the settings


def username(email: str) -> str:
    return email.partition("@")[0]


def button(request: HttpRequest, url: str, text: str) -> str:
    token = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    return f'<form method="post" action="{url}">{token}<button type="submit">{text}</button></form>'


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"<h1>Home</h1><p id='who'>{request.user.get_username() or 'nobody'}</p>")


@login_required
def private(request: HttpRequest) -> HttpResponse:
    out = button(request, "/oidc/logout/", "Log out")
    return HttpResponse(f"<h1>Private</h1><p id='who'>{request.user.get_username()}</p>{out}")


def me(request: HttpRequest) -> HttpResponse:
    is_in = request.user.is_authenticated
    return JsonResponse({"user": request.user.get_username() if is_in else None}, status=200 if is_in else 401)


@login_required
def change_settings(request: HttpRequest) -> HttpResponse:
    """As after a change of the password: the session goes on under another id."""
    if request.method != "POST":
        return HttpResponse(button(request, "/settings", "New password"))
    update_session_auth_hash(request, request.user)
    return redirect("/private")


urlpatterns: list[Any] = [
    path("", home),
    path("private", private),
    path("api/me", me),
    path("settings", change_settings),
    path("oidc/", include("mozilla_django_oidc.urls")),
]


class KeepAlive(WSGIRequestHandler):
    """HTTP/1.1 as behind a production server, without a line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Tracebacks are what the test bench wants to read; requests are not."""


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    call_command("migrate", run_syncdb=True, verbosity=0)
    server = make_server(
        "127.0.0.1", int(sys.argv[1]), get_wsgi_application(), threaded=True, request_handler=KeepAlive
    )
    threading.Thread(target=end_with_parent, daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()
