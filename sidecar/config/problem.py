"""What is wrong with a configuration file, and where: one `Problem` a fault, `ConfigErrors` for all of them.

A problem shows the line as the operator wrote it, so it must not show what is secret there. Values that came from the
environment or a file are never part of a problem; values written into the file itself are masked where the key, or
the shape of a URL, says that they are secret.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.errors import SidecarError

Path = tuple[str | int, ...]
"""Where a value stands: `("providers", 0, "issuer")`."""

FRAME_WIDTH = 120
MASK = "***"

_SECRET_NAME = re.compile(r"secret|passw|passphrase|private|credential|api.?key|\btoken\b", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"""((?:[\w-]*(?:secret|passw|passphrase|private|api_?key)[\w-]*|\btoken)["']?\s*:\s*)  # a key that says so
        (?!\s|$|[\[{\#&*])(?!(?:null|~)\b).*""",  # ... and a value right behind it, not a mapping of further keys
    re.IGNORECASE | re.VERBOSE,
)
_URL_PASSWORD = re.compile(r"(//)[^/\s\"']*@")
_CARRIERS = ("session", "credentials")  # names of cookies and the like, never their values
_SIMPLE_KEY = re.compile(r"[A-Za-z_][\w-]*")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the value at a path, before anyone has looked up its line."""

    path: Path
    what: str
    expected: str = ""
    suggestion: str = ""
    also: Path | None = None  # a second place that the operator has to look at
    involves: tuple[Path, ...] = ()  # if one of these is broken already, this fault is only its echo


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault with its place in the file, ready to print."""

    file: str
    mark: Mark
    path: str
    what: str
    expected: str = ""
    suggestion: str = ""
    frame: tuple[tuple[int, str], ...] = ()  # (line number, masked text); the first one is the place itself

    def headline(self) -> str:
        """`file:line:column: path: what is wrong; expected ...; did you mean X?`"""
        parts = [self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.suggestion:
            parts.append(f"did you mean {self.suggestion}?")
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.mark.line}:{self.mark.column}: {where}{'; '.join(parts)}"

    def render(self) -> str:
        """The headline, and the code frame under it."""
        lines = [self.headline()]
        for index, (number, text) in enumerate(self.frame):
            lines.append(f"{number:>6} | {text}")
            if index == 0 and self.mark.column <= len(text) + 1:
                lines.append(f"{'':>6} | {' ' * (self.mark.column - 1)}^")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same for a machine."""
        return {
            "file": self.file,
            "line": self.mark.line,
            "column": self.mark.column,
            "path": self.path,
            "message": self.what,
            "expected": self.expected or None,
            "suggestion": self.suggestion or None,
            "frame": [{"line": number, "text": text} for number, text in self.frame],
        }


class ConfigErrors(SidecarError):
    """The configuration cannot be used; `problems` holds every reason, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("config_invalid", "\n".join(problem.headline() for problem in problems))
        self.problems = tuple(problems)


def format_path(path: Path) -> str:
    """`providers[0].issuer`; a key that is not a plain word is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if _SIMPLE_KEY.fullmatch(part) else repr(part[:64])
            text += f".{word}" if text else word
    return text


def frame(lines: Sequence[str], marks: Sequence[Mark], path: Path = ()) -> tuple[tuple[int, str], ...]:
    """The lines of the file that the operator has to look at, with secrets masked."""
    numbers = dict.fromkeys(mark.line for mark in marks if mark.line <= len(lines))
    return tuple((number, _masked(lines[number - 1], path)) for number in numbers)


def _masked(line: str, path: Path) -> str:
    line = "".join(char if char.isprintable() else " " for char in line)
    line = _URL_PASSWORD.sub(rf"\1{MASK}@", _SECRET_VALUE.sub(rf"\1{MASK}", line))
    if _may_be_secret(path):
        # `client_secret:` on one line and the secret itself, misplaced, on the next.
        line = re.sub(r"^(\s*(?:-\s+)?(?:[\w-]+:(?!\S)\s*)?)(?![\[{]|\s|$).*", rf"\1{MASK}", line)
    return line if len(line) <= FRAME_WIDTH else line[: FRAME_WIDTH - 3] + "..."


def _may_be_secret(path: Path) -> bool:
    if path[-1:] in {("file",), ("env",)} or path[:2] == _CARRIERS:
        return False
    return any(_SECRET_NAME.search(str(part)) for part in path)
