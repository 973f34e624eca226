"""Streams of YAML: nothing is lost by splitting, values are what Kubernetes reads, text stays text when written."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.kube.documents import joined, read, split, written
from sidecar.kube.outcome import Refused


def values(text: str) -> list[object]:
    return [each.value for each in read(text, "f")]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a: 1\n", ["a: 1\n"]),
        ("---\na: 1\n---\nb: 2\n", ["---\na: 1\n", "---\nb: 2\n"]),
        ("a: 1\n--- # why\nb: 2", ["a: 1\n", "--- # why\nb: 2"]),
        ("# first\n---\na: 1\n", ["# first\n---\na: 1\n"]),
        ("%YAML 1.2\n---\na: 1\n", ["%YAML 1.2\n---\na: 1\n"]),
        ("a: |\n  ---\n  b\n", ["a: |\n  ---\n  b\n"]),
        ("a: ----\n", ["a: ----\n"]),
        ("----\n", ["----\n"]),
        ("a: 1\r\n---\r\nb: 2\r\n", ["a: 1\r\n", "---\r\nb: 2\r\n"]),
        ("--- {a: 1}\n--- {b: 2}\n", ["--- {a: 1}\n", "--- {b: 2}\n"]),
        ("---\n---\na: 1\n---\n", ["---\n", "---\na: 1\n", "---\n"]),
        ("", []),
    ],
)
def test_a_stream_is_split_at_its_markers(text: str, pieces: list[str]) -> None:
    assert list(split(text)) == pieces


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["---", "--- ", "a: 1", "\n", "\r\n", "# c", " ---", "...", "|", "b", "\x85", "%TAG"])))
def test_the_pieces_are_the_stream(parts: list[str]) -> None:
    text = "".join(parts)
    assert "".join(split(text)) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.text("abc", min_size=1), st.text("-ab \n#:", max_size=12), min_size=1), max_size=4))
def test_what_is_written_is_read_again_as_it_was(documents: list[dict[str, str]]) -> None:
    assert values(joined([written(each) for each in documents])) == documents


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("0644", 420),
        ("0o644", 420),
        ("0x10", 16),
        ("-7", -7),
        ("0", 0),
        ("0.5", 0.5),
        ("~", None),
        ("", None),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("y", "y"),
        ("089", "089"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("'80'", "80"),
    ],
)
def test_a_plain_scalar_means_what_kubernetes_tools_read(text: str, value: object) -> None:
    (found,) = values(f"a: {text}\n")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        "y",
        "n",
        "on",
        "No",
        "1e3",
        "0644",
        "0o7",
        "1:30",
        "2020-01-01",
        "~",
        "",
        "-",
        ".5",
        "+1",
        "1_0",
        "0x1f",
        "<<",
        "= x",
    ],
)
def test_text_that_a_reader_could_take_for_something_else_is_quoted(text: str) -> None:
    line = written({"a": text}).splitlines()[1]
    assert line.startswith(('a: "', "a: '")) or text == "= x"
    assert yaml.safe_load(line) == {"a": text}


@pytest.mark.parametrize("key", ["8080", "on", "null"])
def test_keys_are_text(key: str) -> None:
    (found,) = values(f"{key}: a\n")
    assert isinstance(found, dict)
    assert all(isinstance(each, str) for each in found)


def test_aliases_are_expanded_and_none_is_written() -> None:
    (found,) = values("a: &x {b: [1]}\nc: *x\nd: {<<: *x, e: 2}\n")
    assert found == {"a": {"b": [1]}, "c": {"b": [1]}, "d": {"b": [1], "e": 2}}
    assert not set(written(found)) & set("&*")


def test_lines_of_text_are_written_as_lines() -> None:
    assert written({"a": "b: 1\nc: 2\n"}) == "---\na: |\n  b: 1\n  c: 2\n"


@pytest.mark.parametrize(
    ("before", "head"),
    [
        ("a: 1\n", ""),
        ("---\na: 1\n", "---\n"),
        ("# one\n\n# two\na: 1 # three\n", "# one\n\n# two\n"),
        ("# one\n--- # two\n# three\na: 1\n", "# one\n--- # two\n# three\n"),
        ("--- {a: 1}\n", "---\n"),
        ("", "---\n"),
    ],
)
def test_a_changed_document_keeps_its_marker_and_first_comments(before: str, head: str) -> None:
    assert written({"a": 2}, before=before) == f"{head}a: 2\n"


def test_documents_are_joined_on_lines_of_their_own() -> None:
    assert joined(["a: 1", "---\nb: 2\n", "c: 3\n"]) == "a: 1\n---\nb: 2\n---\nc: 3\n"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1\n", "broken_yaml"),
        ("a: 1\na: 2\n", "broken_yaml"),
        ("a: {b: 1, b: 2}\n", "broken_yaml"),
        ("a: *nothing\n", "broken_yaml"),
        ("a: !secret b\n", "broken_yaml"),
        ("a: !!python/object/apply:os.system [id]\n", "broken_yaml"),
        ("a: 1\n...\nb: 2\n", "broken_yaml"),
        ("[a]: b\n", "broken_yaml"),
        ("a: \x01\n", "broken_yaml"),
        ("a: " + "9" * 5000 + "\n", "broken_yaml"),
        ("a: &a [*a]\n", "too_large"),
        ("[" * 80 + "]" * 80, "too_large"),
        (BOMB, "too_large"),
    ],
)
def test_what_cannot_be_read_is_one_error_that_names_the_document(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=r"^f\.yaml: document 2: ") as caught:
        read(f"ok: 1\n---\n{text}", "f.yaml")
    assert caught.value.reason == reason


def test_nesting_that_the_parser_itself_may_refuse_is_one_error_too() -> None:
    with pytest.raises(Refused, match=r"^f\.yaml: document 1: ") as caught:
        read("[" * 3000 + "]" * 3000, "f.yaml")
    assert caught.value.reason in {"too_large", "broken_yaml"}  # newer versions of libyaml stop at 1000 levels
