"""The YAML file as plain values, with the place of every one of them.

PyYAML composes a node tree and this module reads it; no YAML constructor runs, so a file can name no type and call
nothing. Scalars follow the YAML 1.2 core schema: `no` is a word and `1:30` is not a number. Everything that a file can
blow up is bounded: its size, its depth, and what its aliases expand to.
"""

import enum
import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml
from yaml.reader import ReaderError

from sidecar.config.interpolate import Interpolated, VariableError, interpolate
from sidecar.config.problem import ConfigErrors, Fault, Mark, Path, Problem, format_path, frame

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 10_000  # keys and values

START = Mark(1, 1)

_MERGE_TAG = "tag:yaml.org,2002:merge"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class Document:
    """One file: its values, where each stands, what is wrong with its form, and the variables that it uses."""

    file: str
    lines: list[str] = field(repr=False)
    value: object = field(default=None, repr=False)
    keys: dict[Path, Mark] = field(default_factory=dict, repr=False)
    values: dict[Path, Mark] = field(default_factory=dict, repr=False)
    problems: list[Problem] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)

    def mark(self, path: Path, *, of_key: bool = False) -> Mark:
        """Where a path stands; of a path that is not in the file, where its nearest ancestor stands."""
        for length in range(len(path), 0, -1):
            at = path[:length]
            value, key = self.values.get(at), self.keys.get(at)
            # Of something that is missing, the operator wants to see the section that misses it.
            chosen = key or value if of_key or length < len(path) else value or key
            if chosen:
                return chosen
        return START

    def problem(self, mark: Mark, fault: Fault) -> Problem:
        """The fault with its line."""
        marks = [mark] if fault.also is None else [mark, self.mark(fault.also, of_key=True)]
        return Problem(
            self.file,
            mark,
            format_path(fault.path),
            fault.what,
            fault.expected,
            fault.suggestion,
            frame(self.lines, marks, fault.path),
        )


def read_file(name: str) -> str:
    """The text of the file, or ConfigErrors with the one line that says why not."""
    try:
        with FilePath(name).open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _whole_file(name, *_unreadable(error)) from None
    if len(data) > MAX_FILE_BYTES:
        raise _whole_file(name, "the file is too large", f"at most {MAX_FILE_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise ConfigErrors([Problem(name, mark, "", "the file is not UTF-8 text", "UTF-8")]) from None


def read(name: str, text: str, environ: Mapping[str, str]) -> Document:
    """Parse the text. What a single value has wrong is in `problems`; broken YAML raises ConfigErrors."""
    document = Document(name, re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text))
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        raise ConfigErrors([_syntax_problem(document, text, error)]) from None
    except _TooDeep as error:
        fault = Fault((), "the file is nested too deep", f"at most {MAX_DEPTH} levels")
        raise ConfigErrors([document.problem(error.mark, fault)]) from None
    for mark in loader.tags:
        document.problems.append(
            document.problem(mark, Fault((), "a YAML tag (!...) is not allowed here", "a plain value"))
        )
    if root is not None:
        reader = _Reader(document, environ)
        try:
            document.value = reader.convert(root, ())
        except _TooLarge:
            fault = Fault((), "the file expands to too many values", f"at most {MAX_VALUES}, aliases expanded")
            raise ConfigErrors([document.problem(START, fault)]) from None
    return document


class _TooDeep(Exception):
    """Nested deeper than any real configuration."""

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark


class _TooLarge(Exception):
    """Aliases expand to more than any real configuration holds."""


class _Loader(yaml.SafeLoader):
    """Composes nodes, with a limit on the depth (the composer recurses) and a note of every explicit tag."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.tags: list[Mark] = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call] # the stub has no types here
        if getattr(event, "tag", None) is not None:
            self.tags.append(_mark(event.start_mark))
        if self.depth >= MAX_DEPTH:
            raise _TooDeep(_mark(event.start_mark))
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    """Turns nodes into values and keeps their places in the document."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._count = 0

    def convert(self, node: yaml.Node, path: Path) -> object:
        self._charge()
        if len(path) > MAX_DEPTH:  # an alias to one of its own ancestors
            raise _TooLarge
        self._document.values[path] = _mark(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        try:
            text, names = interpolate(node.value, self._environ)
        except VariableError as error:
            self._complain(node, Fault(path, error.what, error.expected))
            return UNUSABLE
        self._document.variables |= names
        is_quoted = getattr(node, "style", None) is not None
        if isinstance(text, Interpolated):  # inside [ ] and { } YAML wants quotes around ${...}: they mean nothing more
            return text if text or is_quoted else None
        return text if is_quoted else plain(text)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in self._own_pairs(node, path):
            key = key_node.value
            at = (*path, key)
            if key in found:
                fault = Fault(at, f"the key is here twice, first on line {self._document.keys[at].line}", also=at)
                self._complain(key_node, fault)
                continue
            self._document.keys[at] = _mark(key_node.start_mark)
            found[key] = self.convert(value_node, at)
        for key_node, value_node in self._merged_pairs(node, path):
            at = (*path, key_node.value)
            if key_node.value not in found:  # a key of the mapping itself wins over a merged one
                self._document.keys[at] = _mark(key_node.start_mark)
                found[key_node.value] = self.convert(value_node, at)
        return found

    def _own_pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for key_node, value_node in node.value:
            self._charge()  # here as well as for values: merges multiply without making a single value
            if _is_merge(key_node):
                continue
            if isinstance(key_node, yaml.ScalarNode):
                yield key_node, value_node
            else:
                self._complain(key_node, Fault(path, "a key is a list or a mapping", "a word as the key"))

    def _merged_pairs(
        self, node: yaml.MappingNode, path: Path, depth: int = 0
    ) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        if depth > MAX_DEPTH:  # merges that end in themselves
            raise _TooLarge
        for key_node, value_node in node.value:
            if not _is_merge(key_node):
                continue
            sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for source in sources:
                if isinstance(source, yaml.MappingNode):
                    yield from self._own_pairs(source, path)
                    yield from self._merged_pairs(source, path, depth + 1)
                else:
                    self._complain(key_node, Fault(path, "<< merges something else than mappings", "<<: *anchor"))

    def _charge(self) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooLarge

    def _complain(self, node: yaml.Node, fault: Fault) -> None:
        self._document.problems.append(self._document.problem(_mark(node.start_mark), fault))


class Unusable(enum.Enum):
    """Stands for a value that has been complained about already. An enum, so that a copy is the same object."""

    UNUSABLE = "unusable"


UNUSABLE = Unusable.UNUSABLE


def plain(text: str) -> object:
    """What an unquoted scalar means in the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _is_merge(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _MERGE_TAG


def _mark(mark: Any) -> Mark:  # the stubs know two kinds of marks and None; a composed node has a real one
    return Mark(mark.line + 1, mark.column + 1)


def _syntax_problem(document: Document, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, ReaderError):
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        return document.problem(mark, Fault((), "a character is not allowed in YAML"))
    problem_mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    mark = _mark(problem_mark) if problem_mark else START
    what = getattr(error, "problem", None) or "broken YAML"
    context = getattr(error, "context", None)
    expected = 'quotes around "${...}" inside [ ] and { }' if "${" in document.lines[mark.line - 1] else ""
    return document.problem(mark, Fault((), f"broken YAML: {context + ': ' if context else ''}{what}", expected))


def _whole_file(name: str, what: str, expected: str = "") -> ConfigErrors:
    return ConfigErrors([Problem(name, START, "", what, expected)])


def _unreadable(error: OSError | ValueError) -> tuple[str, str]:
    match getattr(error, "errno", None):
        case errno.ENOENT:
            return "the file does not exist", ""
        case errno.EISDIR:
            return "this is a directory", "a YAML file"
        case errno.EACCES | errno.EPERM:
            return "the file may not be read by this user", ""
        case _:
            return f"the file cannot be read: {getattr(error, 'strerror', None) or 'bad file name'}", ""
