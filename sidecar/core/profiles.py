"""What each app stack takes for a session: a table, and how it becomes `Carriers`.

A profile declares where its stack looks, how it spells the values (steps of `core/spelling.py`), and the companions of
the session: cookies that would bring it back, such as remember-me and single sign-on, which are judged, bound, stripped
and expired with it. The names are the stack's defaults. A credential that the operator declares comes on top, and is
read as the profile reads its own; nothing that a profile declares is taken away by that (decision 020).

Data only: no code here knows a stack by its name.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sidecar.core.credentials import Carriers
from sidecar.core.spelling import STEPS


class Place(enum.StrEnum):
    """Where a credential may stand in a request."""

    COOKIE = "cookie"
    COMPANION = "companion"  # a cookie as well, expired in browsers that have sent it
    PATH_PARAMETER = "path_parameter"
    PATH_SEGMENT = "path_segment"
    QUERY_PARAMETER = "query_parameter"
    ANYWHERE = "anywhere"  # NAME=value in any part of the target
    FORM_FIELD = "form_field"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Declared:
    """One name in one place. `steps` name the form of its values; `chunks` is what stands between name and number."""

    place: Place
    name: str
    steps: tuple[str, ...] = ()
    chunks: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A stack: what it declares, and the steps for what the operator declares beside it."""

    declared: tuple[Declared, ...] = ()
    steps: tuple[str, ...] = ()
    chunks: str = ""


def _profile(
    *steps: str,
    cookies: Iterable[str] = (),
    chunked: Iterable[str] = (),
    companions: Iterable[str] = (),
    path_parameters: Iterable[str] = (),
    path_segments: Iterable[str] = (),
    query_parameters: Iterable[str] = (),
    anywhere: Iterable[str] = (),
    headers: Iterable[str] = (),
    others: tuple[Declared, ...] = (),
    mark: str = "C",
) -> Profile:
    """A profile whose names all share its steps, but for `others`; `mark` is that of the `chunked`."""
    names = (
        (Place.COOKIE, cookies),
        (Place.COMPANION, companions),
        (Place.PATH_PARAMETER, path_parameters),
        (Place.PATH_SEGMENT, path_segments),
        (Place.QUERY_PARAMETER, query_parameters),
        (Place.ANYWHERE, anywhere),
        (Place.HEADER, headers),
    )
    declared = [Declared(place, name, steps) for place, some in names for name in some]
    declared += [Declared(Place.COOKIE, name, steps, mark) for name in chunked]
    return Profile((*declared, *others, *_prefixed((*declared, *others))), steps, mark if chunked else "")


def _prefixed(declared: Iterable[Declared]) -> list[Declared]:
    """The names that cookies have where the app is told to have browsers guard them (RFC 6265bis section 4.1.3)."""
    cookies = [each for each in declared if each.place is Place.COOKIE]
    return [
        replace(each, place=Place.COMPANION, name=prefix + each.name)
        for each in cookies
        for prefix in ("__Host-", "__Secure-")
    ]


_PROTECTED: Final = ("chunk_count", "base64")  # ASP.NET Core and OWIN: protected bytes, cut into chunks when long
_TICKET: Final = ("ticket",)

PROFILES: Final[Mapping[str, Profile]] = {
    "generic": _profile(),
    "tomcat": _profile("route", cookies=["JSESSIONID"], path_parameters=["jsessionid"], companions=["JSESSIONIDSSO"]),
    # Jetty knows a header line again that it has read on the same connection, without regard to case, and takes the
    # earlier one for it: `A1` after another user's `a1` is `a1`.
    "jetty": _profile("route", "case", cookies=["JSESSIONID"], path_parameters=["jsessionid"]),
    "weblogic": _profile(
        "weblogic",
        cookies=["JSESSIONID"],
        path_parameters=["jsessionid"],
        companions=["_WL_AUTHCOOKIE_JSESSIONID"],
    ),
    "websphere": _profile(
        "websphere", cookies=["JSESSIONID"], path_parameters=["jsessionid"], companions=["LtpaToken2", "LtpaToken"]
    ),
    # The container's cookie, Spring Session's, and its header; ids may be looked up in a data base.
    "spring": _profile(
        *("base64_text", "route", "case"),
        cookies=["JSESSIONID", "SESSION"],
        path_parameters=["jsessionid"],
        headers=["X-Auth-Token"],
        companions=["remember-me"],
    ),
    "php": _profile("case", cookies=["PHPSESSID"], query_parameters=["PHPSESSID"], anywhere=["PHPSESSID"]),
    "laravel": _profile("envelope", cookies=["laravel_session", "laravel-session"], companions=["remember_web_*"]),
    "aspnet": _profile(
        "case",
        cookies=["ASP.NET_SessionId"],
        path_segments=["S", "A"],
        headers=["AspFilterSessionId"],
        others=(
            Declared(Place.COOKIE, ".AspNet.Cookies", _PROTECTED, "C"),
            Declared(Place.COOKIE, ".AspNet.ApplicationCookie", _PROTECTED, "C"),
            Declared(Place.COOKIE, ".ASPXAUTH", _TICKET),
            Declared(Place.PATH_SEGMENT, "F", _TICKET),
        ),
    ),
    "aspnetcore": _profile(
        *_PROTECTED,
        cookies=[".AspNetCore.Session"],
        chunked=[".AspNetCore.Cookies"],
        others=(Declared(Place.COMPANION, ".AspNetCore.Identity.Application", _PROTECTED, "C"),),
    ),
    "flask": _profile("signature", cookies=["session"]),
    "django": _profile("case", cookies=["sessionid"]),
    "rails": _profile(cookies=["_session_id"], companions=["remember_*_token"]),
    "express": _profile(cookies=["connect.sid", "sessionId"]),
    # The session is the cookie: encrypted, and cut where it is long.
    "express-openid-connect": _profile("jwe", chunked=["appSession"], mark="."),
}


def carriers_of(profiles: Iterable[str], explicit: Iterable[tuple[Declared, str | None]]) -> Carriers:
    """Everything that counts as a credential: what the profiles declare, and what the operator does.

    An explicit one comes with the profile that reads it. With None it is read as the profiles read their own of that
    name, and a name that they do not have as the first of them reads any.
    """
    known = [each for profile in profiles for each in PROFILES[profile].declared]
    first = PROFILES[next(iter(profiles))]
    own: list[Declared] = []
    for each, profile in explicit:
        reader = first if profile is None else PROFILES[profile]
        if profile is not None or not any(each.name.lower() == other.name.lower() for other in known):
            chunks = reader.chunks if each.place is Place.COOKIE else ""
            own.append(Declared(each.place, each.name, reader.steps, chunks))
        else:
            known.append(each)
    return carriers(own, known)


def carriers(own: Iterable[Declared], known: Iterable[Declared] = ()) -> Carriers:
    """The carriers of these credentials. A name has one form, whatever carries it.

    The form of `own` names is theirs alone. Where several of `known` have one name, all their steps are taken.
    """
    by_place: dict[Place, dict[str, None]] = {}
    steps: dict[str, tuple[str, ...]] = {}
    chunks: dict[str, str] = {}
    settled = {_key(each) for each in own}
    for each in (*own, *known):
        by_place.setdefault(each.place, {})[each.name] = None
        if each.chunks:
            chunks.setdefault(each.name, each.chunks)
    for each in own:
        steps.setdefault(_key(each), each.steps)
    for each in known:
        if _key(each) not in settled:
            steps[_key(each)] = tuple(dict.fromkeys((*steps.get(_key(each), ()), *each.steps)))
    return Carriers(
        cookies=by_place.get(Place.COOKIE, ()),
        companions=by_place.get(Place.COMPANION, ()),
        path_parameters=by_place.get(Place.PATH_PARAMETER, ()),
        path_segments=by_place.get(Place.PATH_SEGMENT, ()),
        query_parameters=by_place.get(Place.QUERY_PARAMETER, ()),
        anywhere=by_place.get(Place.ANYWHERE, ()),
        form_fields=by_place.get(Place.FORM_FIELD, ()),
        headers=by_place.get(Place.HEADER, ()),
        forms={name: tuple(STEPS[step] for step in some) for name, some in steps.items()},
        chunks=chunks,
    )


def _key(declared: Declared) -> str:
    """A letter in a path is no name that a cookie could share."""
    name = declared.name.lower()
    return f"({name}" if declared.place is Place.PATH_SEGMENT else name
