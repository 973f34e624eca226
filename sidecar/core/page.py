"""Pages for a person: our own plain one, or the operator's (`sidecar/template.py`)."""

from typing import Final

from sidecar.template import filled

_PLAIN: Final = """<!DOCTYPE html>
<html lang="{{lang}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{title}}</title>
<style>
:root { color-scheme: light dark; }
body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; margin: 16vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; }
a { display: inline-block; margin-top: .5rem; }
</style>
</head>
<body>
<main>
<h1>{{title}}</h1>
<p>{{detail}}</p>
{{#login}}<p><a href="{{login_url}}">{{sign_in}}</a></p>
{{/login}}</main>
</body>
</html>
"""


def page(
    title: str,
    detail: str,
    *,
    template: str | None = None,
    lang: str = "en",
    sign_in: str = "",
    login_url: str | None = None,
    reason: str = "",
) -> bytes:
    """The page. Without a template it is our own."""
    texts = {"title": title, "detail": detail, "sign_in": sign_in, "lang": lang, "reason": reason}
    texts["login_url"] = login_url or ""
    return filled(_PLAIN if template is None else template, texts, has_login=bool(login_url)).encode()
