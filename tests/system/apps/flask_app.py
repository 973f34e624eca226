"""A Flask application with an Authlib login and server-side sessions, as many companies run one.

It knows nothing of back-channel logout or of a sidecar. Everything that an operator may set is in the environment:
`FLASK_OIDC_CLIENT_ID`, `_CLIENT_SECRET`, `_SERVER_METADATA_URL` as Authlib documents them, and for an operator who puts
the sidecar in between `FLASK_OIDC_ACCESS_TOKEN_URL`. `FLASK_SESSION_FOLDER` is where sessions live; instances that
share it share their sessions.

Usage: flask_app.py PORT. Ends when its standard input does, so that it never outlives a test run.
"""

import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, Response, jsonify, redirect, request, session, url_for
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.datastructures import CallbackDict
from werkzeug.serving import WSGIRequestHandler, make_server


class ServerSideSession(CallbackDict[str, Any], SessionMixin):
    """The content of a session; only its random id is in the browser."""

    def __init__(self, sid: str, initial: dict[str, Any]) -> None:
        super().__init__(initial, lambda changed: setattr(changed, "modified", True))
        self.sid, self.new, self.modified = sid, not initial, False


class FileSessions(SessionInterface):
    """Sessions as files, the way Flask-Session keeps them with its file-system back end."""

    serializer = TaggedJSONSerializer()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open_session(self, app: Flask, request: Any) -> ServerSideSession:
        sid = request.cookies.get(self.get_cookie_name(app), "")
        try:
            return ServerSideSession(sid, self.serializer.loads(self._file(sid).read_text()))
        except (FileNotFoundError, ValueError):
            return ServerSideSession(secrets.token_urlsafe(24), {})

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        if not session.modified:
            return
        if not session:
            self._file(session.sid).unlink(missing_ok=True)
            response.delete_cookie(self.get_cookie_name(app))
            return
        whole = self.folder / f".{secrets.token_hex(8)}"
        whole.write_text(self.serializer.dumps(dict(session)))
        whole.replace(self._file(session.sid))
        if session.new:
            response.set_cookie(self.get_cookie_name(app), session.sid, httponly=True, samesite="Lax")

    def _file(self, sid: str) -> Path:
        if not sid.replace("-", "").replace("_", "").isalnum():
            raise FileNotFoundError(sid)
        return self.folder / sid


app = Flask(__name__)
app.config.from_prefixed_env()
app.session_interface = FileSessions(Path(app.config["SESSION_FOLDER"]))
oauth = OAuth(app)
oauth.register("oidc", client_kwargs={"scope": "openid profile"})


@app.get("/")
def home() -> str:
    return f"<h1>Home</h1><p id='who'>{session.get('user', 'nobody')}</p>"


@app.get("/private")
def private() -> Any:
    if "user" not in session:
        return redirect(url_for("login"))
    return f"<h1>Private</h1><p id='who'>{session['user']}</p>"


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
    session["user"] = token["userinfo"]["sub"]
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
