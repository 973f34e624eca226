"""A Flask application with an Authlib login, as many companies run one.

It knows nothing of back-channel logout or of a sidecar. Everything that an operator may set is in the environment:
`FLASK_OIDC_CLIENT_ID`, `_CLIENT_SECRET`, `_SERVER_METADATA_URL` as Authlib documents them, and for an operator who puts
the sidecar in between `FLASK_OIDC_ACCESS_TOKEN_URL`. With `FLASK_SESSION_FOLDER` the sessions live there, kept by
Flask-Session; instances that share the folder share them. Without it they are Flask's own: signed, in the cookie.

Usage: flask_app.py PORT. Ends when its standard input does, so that it never outlives a test run.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from cachelib.file import FileSystemCache
from flask import Flask, Response, jsonify, redirect, request, session, url_for
from flask_session import Session
from werkzeug.serving import WSGIRequestHandler, make_server

app = Flask(__name__)
app.config.from_prefixed_env()
if "SESSION_FOLDER" in app.config:
    app.config["SESSION_CACHELIB"] = FileSystemCache(app.config["SESSION_FOLDER"], threshold=0)  # 0: never pruned
    app.config["SESSION_TYPE"] = "cachelib"
    Session(app)
oauth = OAuth(app)
oauth.register("oidc", client_kwargs={"scope": "openid profile"})


def button(url: str, text: str) -> str:
    return f'<form method="post" action="{url}"><button type="submit">{text}</button></form>'


@app.get("/")
def home() -> str:
    return f"<h1>Home</h1><p id='who'>{session.get('user', 'nobody')}</p>"


@app.get("/private")
def private() -> Any:
    if "user" not in session:
        return redirect(url_for("login"))
    return f"<h1>Private</h1><p id='who'>{session['user']}</p>{button('/logout', 'Log out')}"


@app.get("/settings")
def settings() -> str:
    return button("/settings", "Another language")


@app.post("/settings")
def change_settings() -> Any:
    session["language"] = "eo" if session.get("language") != "eo" else "en"
    return redirect(url_for("private"))


@app.get("/api/me")
def me() -> Any:
    return jsonify(user=session.get("user")), 200 if "user" in session else 401


@app.post("/api/echo")
def echo() -> Any:
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.get("/api/slow")
def slow() -> Any:
    """A report that takes its time; `begun` tells the test that it is under way."""
    begun = Path(request.args["begun"])
    begun.touch()
    time.sleep(float(request.args["seconds"]))
    return jsonify(done=True)


@app.get("/events")
def events() -> Any:
    def tick() -> Iterator[str]:
        while True:
            yield f"data: {time.time()}\n\n"
            time.sleep(0.1)

    return Response(tick(), mimetype="text/event-stream") if "user" in session else ("", 401)


@app.get("/login")
def login() -> Any:
    return oauth.oidc.authorize_redirect(url_for("callback", _external=True))


@app.get("/oidc/callback")
def callback() -> Any:
    try:
        token = oauth.oidc.authorize_access_token()
    except OAuthError as error:
        return f"<h1>Login failed</h1><p>{error.error}</p>", 400
    session["user"], session["token"] = token["userinfo"]["sub"], token["id_token"]
    if "SESSION_FOLDER" in app.config:
        app.session_interface.regenerate(session)
    return redirect(url_for("private"))


@app.post("/logout")
def logout() -> Any:
    session.clear()
    return redirect(url_for("home"))


class KeepAlive(WSGIRequestHandler):
    """HTTP/1.1 as behind a production server, without a line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Tracebacks are what the test bench wants to read; requests are not."""


def end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=KeepAlive)
    threading.Thread(target=end_with_parent, daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()
