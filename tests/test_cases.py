"""Every case that the code and its tests cite can be looked up in `docs/cases.md`, and nothing stands there idle."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/cases.md").read_text()
SOURCES = [
    path
    for part in ("sidecar", "tests")
    for path in sorted((ROOT / part).rglob("*.py"))
    if "node_modules" not in path.parts
]

# A case is cited by its number, and by a letter before it where it is about a logout token or its way here.
NUMBER = r"[AJLR]?[0-9]{1,3}"
# In comments and docstrings: `case 42`, `cases 17 and 42`, `trap J5`, `cases 1-5, 13-22 and L7`. It may go on in the
# next line, behind another `#`. A clause of a `match` looks the same (`case 401 | 403:`) and is none.
CLAUSE = re.compile(r"^ +case [^:\n]+:(?:  #.*)?$", re.MULTILINE)
BREAK = r"(?:\s+#)?\s+"
SPAN = rf"{NUMBER}(?:-{NUMBER})?"
IN_WORDS = re.compile(rf"\b(?:[Cc]ase|[Tt]rap)s?{BREAK}({SPAN}(?:(?:,{BREAK}and|,|{BREAK}and){BREAK}{SPAN})*)\b")
# The name of a row in a test's table: `("L58 a string", `.
IN_NAMES = re.compile(r"^ +\(?\"([AJLR][0-9]{1,3}) [^\"]+\",", re.MULTILINE)
# The first column of a test's table: `(134, [b"x=1"]),`. Other tables begin with numbers too, of statuses say. So only
# in those with the heading `("case", ...` and in the two lists of the bypass tests, down to the bracket at their end.
TABLE = re.compile(r"^(?: +\(\"case\", |COOKIES = \[|TARGETS = \[).*?^ *\],?$", re.MULTILINE | re.DOTALL)
IN_COLUMNS = re.compile(r"^ +\(([0-9]{1,3}), ", re.MULTILINE)


def spans(text: str) -> list[tuple[str, str]]:
    """What a file cites: the first and the last number of each range, which may be the same."""
    text = CLAUSE.sub("", text)
    found = [span for words in IN_WORDS.findall(text) for span in re.findall(SPAN, words)]
    found += IN_NAMES.findall(text)
    found += [number for table in TABLE.findall(text) for number in IN_COLUMNS.findall(table)]
    return [(first, last or first) for first, _, last in (span.partition("-") for span in found)]


def key(number: str) -> tuple[str, int]:
    """Its letter and its place."""
    return number.rstrip("0123456789"), int(number.lstrip("AJLR"))


def groups(page: str) -> list[list[str]]:
    """The numbers of each table, in the order of the page."""
    tables = re.split(r"^\| number \|.*$", page, flags=re.MULTILINE)[1:]
    return [re.findall(rf"^\| ({NUMBER}) \|", table.partition("\n\n")[0], flags=re.MULTILINE) for table in tables]


def rows(page: str) -> list[str]:
    return [number for group in groups(page) for number in group]


def unlisted(cited: set[tuple[str, str]], page: str) -> set[str]:
    """A range needs its ends only: the numbers have gaps."""
    return {number for span in cited for number in span} - set(rows(page))


def idle(cited: set[tuple[str, str]], page: str) -> set[str]:
    """The rows that no number and no range reaches."""
    return {row for row in rows(page) if not any(key(first) <= key(row) <= key(last) for first, last in cited)}


def repeated(page: str) -> list[str]:
    return [number for number, count in Counter(rows(page)).items() if count > 1]


def disordered(page: str) -> list[list[str]]:
    return [group for group in groups(page) if group != sorted(group, key=key)]


@pytest.fixture(scope="module")
def cited() -> set[tuple[str, str]]:
    return {span for path in SOURCES if path != Path(__file__) for span in spans(path.read_text())}


def test_every_case_that_is_cited_is_listed(cited: set[tuple[str, str]]) -> None:
    assert unlisted(cited, PAGE) == set()


def test_every_case_that_is_listed_is_cited(cited: set[tuple[str, str]]) -> None:
    assert idle(cited, PAGE) == set()


def test_no_case_is_listed_twice() -> None:
    assert repeated(PAGE) == []


def test_the_cases_of_a_group_are_in_order() -> None:
    assert disordered(PAGE) == []


# The checks themselves


HEAD = "| number | x |\n| --- | --- |\n"
TABLES = f"# A\n\n{HEAD}| 2 | a |\n| 10 | b |\n\n## B\n\n{HEAD}| L1 | c |\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# reference case 42\n", [("42", "42")]),
        ('"""Reference cases 17 and 41-43: so."""\n', [("17", "17"), ("41", "43")]),
        ("# (reference cases\n# 1-5, 13, and L7)\n", [("1", "5"), ("13", "13"), ("L7", "L7")]),
        ("# traps A1 and A2, case L16\n", [("A1", "A1"), ("A2", "A2"), ("L16", "L16")]),
        ('    ("L58 a string", b"x"),\n    (\n        "R09 events", 1),\n', [("L58", "L58"), ("R09", "R09")]),
        ('    ("case", "x"),\n    [\n        (7, b"5"),\n    ],\n    (8, b"5"),\n', [("7", "7")]),
        ("COOKIES = [\n    (133, 'x'),\n]\n    (134, 'x'),\n", [("133", "133")]),
        ("    match status:\n        case 401 | 403:  # no\n        case 404:\n", []),
        ("# a case of 5, in case 1000 come, (42), RFC 9110, staircase 7\n", []),
    ],
)
def test_each_way_to_cite_is_known(text: str, expected: list[tuple[str, str]]) -> None:
    assert spans(text) == expected


def test_what_is_missing_idle_repeated_or_in_disorder_would_be_found() -> None:
    assert groups(TABLES) == [["2", "10"], ["L1"]]
    assert unlisted({("2", "2"), ("L2", "L2"), ("1", "10")}, TABLES) == {"L2", "1"}
    assert idle({("3", "12")}, TABLES) == {"2", "L1"}
    assert idle({("1", "10"), ("L1", "L1")}, TABLES) == set()
    assert repeated(TABLES + "| 2 | d |\n") == ["2"]
    assert disordered(TABLES) == []
    assert disordered(TABLES.replace("| 2 |", "| 11 |")) == [["11", "10"]]
