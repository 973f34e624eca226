"""What a log line looks like, whatever somebody puts into it (reference case 190)."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.log import JsonFormatter, Repeated, TextFormatter

FORMATTERS = {"json": JsonFormatter(), "text": TextFormatter()}

VICIOUS = [
    'x\n{"level": "error", "event": "forged"}',
    "x\r\nforged",
    "\x1b[2J\x1b[31mred",
    "\x9b31m",  # the same in one byte, for terminals that read C1
    "nul\x00bell\x07del\x7f",
    "line\u2028separator\u2029and\x85next",
    "\u202egnitirw",
    b"\xff\xfe invalid".decode("latin-1"),
    "lone \udcff surrogate",
    '"},{"',
    "back\\slash",
]

both = pytest.mark.parametrize("style", FORMATTERS)


def record(message: str = "event", *, error: BaseException | None = None, **fields: object) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error is not None else None
    made = logging.LogRecord("sidecar.x", logging.INFO, "x.py", 1, message, (), exc_info)
    made.fields = fields
    return made


def is_one_clean_line(text: str) -> bool:
    return text.isascii() and text.isprintable()


@both
@pytest.mark.parametrize("text", VICIOUS)
def test_no_field_can_forge_a_line(style: str, text: str) -> None:
    line = FORMATTERS[style].format(record(path=text))
    assert is_one_clean_line(line)


@both
@given(st.text())
def test_no_text_at_all_can_forge_a_line(style: str, text: str) -> None:
    assert is_one_clean_line(FORMATTERS[style].format(record(path=text)))


@pytest.mark.parametrize("text", VICIOUS)
def test_json_gives_every_field_back_as_it_was(text: str) -> None:
    line = json.loads(FORMATTERS["json"].format(record(path=text)))
    assert line["path"] == text
    assert {"time", "level", "logger", "event", "path"} == line.keys()


@both
@pytest.mark.parametrize("text", VICIOUS)
def test_a_library_that_logs_what_a_stranger_sent_forges_nothing(style: str, text: str) -> None:
    line = FORMATTERS[style].format(record(message=text))
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in line)


@pytest.mark.parametrize("text", VICIOUS)
def test_a_traceback_for_people_keeps_its_lines_and_nothing_else(text: str) -> None:
    line = FORMATTERS["text"].format(record(error=ValueError(text)))
    controls = {character for character in line if ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0}
    assert controls == {"\n"}


def test_a_traceback_in_json_stays_on_its_line() -> None:
    line = FORMATTERS["json"].format(record(error=ValueError("a\nb")))
    assert is_one_clean_line(line)
    assert json.loads(line)["exception"].endswith("ValueError: a\nb")


@both
def test_what_a_library_says_is_bounded(style: str) -> None:
    line = FORMATTERS[style].format(record(message="m" * 10**6, error=ValueError("begin" + "e" * 10**6 + "end")))
    assert len(line) < 40_000
    assert "eeend" in line  # of a traceback the end says most


@both
def test_a_value_that_json_does_not_know_is_written_as_text(style: str) -> None:
    assert '"/run/secrets"' in FORMATTERS[style].format(record(value=Path("/run/secrets")))


def test_what_strangers_repeat_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    repeated = Repeated(logging.getLogger("sidecar.x"), logging.WARNING, "knocked", clock=lambda: now[0])
    for seconds in (0, 1, 30, 59, 60, 119):
        now[0] = 1000.0 + seconds
        repeated.note(door=seconds)
    assert [(record.message, record.fields) for record in caplog.records] == [
        ("knocked", {"count": 1, "door": 0}),
        ("knocked", {"count": 4, "door": 60}),
    ]
