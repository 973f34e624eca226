"""HTML with places for texts, as an operator may write it: checked once, and filled without a way to fail.

`{{name}}` is where a text goes, and `{{#login}}...{{/login}}` is around what only a page with a way to the login has.
Every text is escaped for HTML, in attributes too. No loops, no expressions, no inclusion. Both the configuration, which
checks, and the rules, which fill, stand on this; it knows neither.
"""

import html
import re
from collections.abc import Mapping
from typing import Final

PLACEHOLDERS: Final = ("title", "detail", "sign_in", "login_url", "lang", "reason")

_MARK: Final = re.compile(r"\{\{([^{}]*)\}\}")
_LOGIN: Final = re.compile(r"\{\{#login\}\}(.*?)\{\{/login\}\}", re.DOTALL)


def problem_of(template: str) -> str | None:
    """What is wrong with a template, in a few words; None when nothing is."""
    for name in _MARK.findall(_LOGIN.sub(r"\1", template)):
        if name in ("#login", "/login"):
            return "{{#login}} and {{/login}} come in pairs"
        if name not in PLACEHOLDERS:
            return f"there is no {{{{{name[:40]}}}}}"
    return None


def filled(template: str, texts: Mapping[str, str], *, has_login: bool) -> str:
    """The page. `texts` has one for each of PLACEHOLDERS."""
    source = _LOGIN.sub(r"\1" if has_login else "", template)
    return _MARK.sub(lambda mark: html.escape(texts[mark[1]]), source)
