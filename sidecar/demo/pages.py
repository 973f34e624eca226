"""The look of the demo's pages: plain HTML that reads well on any screen and loads nothing else.

Callers pass text through `escape` before they put it into a body; `page` escapes the title itself.
"""

from html import escape

from aiohttp import web

_STYLE = """
:root { color-scheme: light dark }
body { font: 1.05rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem }
h2 { font-size: 1.15rem; margin-top: 2rem }
button { font: inherit; padding: .4rem 1rem; cursor: pointer }
form { display: inline-block; margin: 0 .5rem .5rem 0 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .5rem; border-bottom: 1px solid #8886 }
code, output { font-family: ui-monospace, monospace }
nav a { margin-right: 1rem }
.role { opacity: .75; font-size: .9rem; border-bottom: 1px solid #8886; padding-bottom: .3rem }
"""


def page(*, role: str, title: str, body: str, status: int = 200) -> web.Response:
    """One page. `role` says in whose name it speaks, for a demo has several sites in one browser."""
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<p class="role">{escape(role)}</p>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n'
    )
    # A page about a session must not come back from the browser's cache after the logout.
    headers = {"Cache-Control": "no-store"}
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)


def hidden(fields: dict[str, str]) -> str:
    """Hidden form fields."""
    return "".join(f'<input type="hidden" name="{escape(key)}" value="{escape(fields[key])}">' for key in fields)


def button(*, action: str, label: str, fields: dict[str, str]) -> str:
    """A form that is one button: what changes something is a POST, never a link."""
    return (
        f'<form method="post" action="{escape(action)}">{hidden(fields)}'
        f'<button type="submit">{escape(label)}</button></form>'
    )
