"""Ways to write one cookie, for requests by hand. Which of them mean the session, only the app can tell.

None is clever by itself: each is what some server, framework or browser reads in its own way.
"""

import http.client
import string
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, urlsplit

_BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def spellings(name: str, value: str) -> Iterator[tuple[str, list[str]]]:
    """Cookie lines, each with a label."""
    yield "plain", [f"{name}={value}"]
    yield from _around(name, value)
    yield from _neighbours(name, value)
    yield from _encoded(name, value)
    yield from _base64(name, value)
    yield from _pieces(name, value)


def _around(name: str, value: str) -> Iterator[tuple[str, list[str]]]:
    yield "quoted", [f'{name}="{value}"']
    yield "half quoted", [f'{name}="{value}']
    yield "blanks", [f" {name} = {value} "]
    yield "tabs", [f"\t{name}\t=\t{value}"]
    yield "no-break space", [f"\u00a0{name}={value}"]
    yield "upper-case name", [f"{name.upper()}={value}"]
    yield "lower-case name", [f"{name.lower()}={value}"]
    yield "upper-case value", [f"{name}={value.upper()}"]
    yield "lower-case value", [f"{name}={value.lower()}"]
    yield "dots for underscores", [f"{name.replace('_', '.')}={value}"]
    yield "an array", [f"{name}[]={value}"]
    yield "another worker", [f"{name}={value.partition('.node')[0]}.node2"]
    yield "no worker", [f"{name}={value.partition('.node')[0]}"]
    yield "a suffix", [f"{name}={value}.x"]
    yield "nameless", [f"={name}={value}"]


def _neighbours(name: str, value: str) -> Iterator[tuple[str, list[str]]]:
    yield "the second of two", [f"{name}=x; {name}={value}"]
    yield "the first of two", [f"{name}={value}; {name}=x"]
    yield "the second of two lines", [f"{name}=x", f"{name}={value}"]
    yield "the first of two lines", [f"{name}={value}", f"{name}=x"]
    yield "after a comma", [f"a=b, {name}={value}"]
    yield "before a comma", [f"{name}={value}, a=b"]
    yield "a version", [f"$Version=1; {name}={value}; $Path=/"]
    yield "a version and a comma", [f'$Version=1; a=b, {name}="{value}"']
    yield "within quotes", [f'a="b; {name}={value}; c=d"']
    yield "among empty pairs", [f";;; {name}={value};;"]
    yield "beside a nameless one", [f"a; {name}={value}"]
    yield "after many", ["; ".join(f"c{number}=1" for number in range(170)) + f"; {name}={value}"]


def _encoded(name: str, value: str) -> Iterator[tuple[str, list[str]]]:
    first, rest = f"%{ord(value[0]):02X}", value[1:]
    yield "one letter encoded", [f"{name}={first}{rest}"]
    yield "one letter encoded twice", [f"{name}=%25{first[1:]}{rest}"]
    yield "all letters encoded", [f"{name}={''.join(f'%{ord(letter):02x}' for letter in value)}"]
    yield "nothing encoded", [f"{name}={unquote(value)}"]
    yield "name encoded", [f"%{ord(name[0]):02X}{name[1:]}={value}"]
    yield "octal", [f'{name}="\\{ord(value[0]):03o}{rest}"']
    yield "a zero byte", [f"{name}={value}%00"]


def _base64(name: str, value: str) -> Iterator[tuple[str, list[str]]]:
    """Decoders that skip what is no base64, take both alphabets, and do not look at spare bits."""
    yield "the other alphabet", [f"{name}={value.replace('-', '+').replace('_', '/')}"]
    yield "padding", [f"{name}={value}="]
    yield "four odd letters", [f"{name}={value[:-3]}!!!!{value[-3:]}"]
    yield "a blank inside", [f"{name}={value[:-3]} {value[-3:]}"]
    yield "an encoded line feed inside", [f"{name}={value[:-3]}%0A{value[-3:]}"]
    for end in (index for index, letter in enumerate(value + ".") if letter == "." and index):
        if value[end - 1] in _BASE64:
            for bits in (1, 2, 3):
                letter = _BASE64[_BASE64.index(value[end - 1]) ^ bits]
                yield f"spare bits {bits} before {end}", [f"{name}={value[: end - 1]}{letter}{value[end:]}"]


def _pieces(name: str, value: str) -> Iterator[tuple[str, list[str]]]:
    """As stacks cut long cookies, but elsewhere than they would."""
    first, second, third = value[:7], value[7:9], value[9:]
    yield "one piece", [f"{name}.0={value}"]
    yield "three pieces", [f"{name}.0={first}; {name}.1={second}; {name}.2={third}"]
    yield "pieces in disorder", [f"{name}.7={third}; {name}.0={first}; {name}.3={second}"]
    yield "pieces in two lines", [f"{name}.0={first}; {name}.1={second}", f"{name}.2={third}"]
    yield "pieces of one number", [f"{name}.0={first}; {name}.00={second}; {name}.000={third}"]
    yield "pieces with large numbers", [f"{name}.0={first}; {name}.9999={second}; {name}.99999={third}"]


def fetch(base: str, target: str, cookies: Sequence[str] = ()) -> tuple[str, str]:
    """A GET with exactly this target and these Cookie lines: the sidecar's word about it, and the body."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
    try:
        connection.putrequest("GET", target, skip_accept_encoding=True)
        connection.putheader("Accept", "application/json")
        for line in cookies:
            connection.putheader("Cookie", line.encode("latin-1"))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.getheader("X-Logout-Sidecar", ""), answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
