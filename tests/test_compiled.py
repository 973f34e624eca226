"""What the sources keep to so that the compiled build does what they say (decision 032).

Reads the sources that `pyproject.toml` lists, compiles nothing. The last tests feed each rule what breaks it.
"""

import ast
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for pattern in HOOK["mypyc"]["include"]
    for path in ROOT.glob(pattern)
}
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Slices with both ends that were looked at: none can end before it begins, or what is sliced is no bytes.
LOOKED_AT = {
    "path.split(b'/')[1:_FOLDERS + 1]",  # a list
    "rest[start + 2:end]",  # `end` was looked for behind `start`, and a match lies between them
    "data[begin:end]",  # the end is the beginning and a size
    "data[position:end]",  # found behind `position`
    "data[position:position + self._missing]",
    "data[position:position + 2]",
    "value[1:value.index(b']')]",  # begins with another bracket
    "header[16:20]",
    "header[16:32]",
    "data[start:wide]",  # two or eight bytes
    "text[begin:end]",  # `_end` looks behind `begin`
    "reading[start:_end(end, reading, start)]",  # the same
    "path[len(prefix):len(prefix) + 1]",
    "tags[start:start + DIGEST_BYTES]",
}


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def slices(tree: ast.AST) -> Iterator[str]:
    """Slices with both ends, where the first is not 0."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            lower, upper = node.slice.lower, node.slice.upper
            if lower is not None and upper is not None and not (isinstance(lower, ast.Constant) and not lower.value):
                yield ast.unparse(node)


def shared_names(tree: ast.AST) -> Iterator[str]:
    """Names that several handlers of one function give to errors of different types."""
    for function in functions(tree):
        types: dict[str, set[str]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                types.setdefault(node.name, set()).add(ast.unparse(node.type))
        yield from (f"{function.name}: {name}" for name, kinds in types.items() if len(kinds) > 1)


def awaits_in_handlers(tree: ast.AST) -> Iterator[str]:
    for function in functions(tree):
        for handler in (node for node in ast.walk(function) if isinstance(node, ast.ExceptHandler)):
            if any(isinstance(node, ast.Await | ast.AsyncWith | ast.AsyncFor) for node in ast.walk(handler)):
                yield f"{function.name}: except {ast.unparse(handler.type) if handler.type else ''}"


def dicts_for_super(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("super()")
        if is_call and any(each.arg is None for each in node.keywords):
            yield ast.unparse(node)


def unpacked_gathers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and "gather(" in ast.unparse(node):
            yield ast.unparse(node)


def bases_of_libraries(tree: ast.AST) -> Iterator[str]:
    """A class that inherits from another module than ours, and is meant to be fast."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}({ast.unparse(base)})" for base in node.bases if isinstance(base, ast.Attribute))


Rule = Callable[[ast.AST], Iterator[str]]
RULES: tuple[Rule, ...] = (shared_names, awaits_in_handlers, dicts_for_super, unpacked_gathers)


def found(rule: Rule) -> dict[str, list[str]]:
    every = {name: list(rule(tree)) for name, tree in SOURCES.items()}
    return {name: findings for name, findings in every.items() if findings}


def test_every_pattern_names_a_source() -> None:
    assert [pattern for pattern in HOOK["mypyc"]["include"] if not list(ROOT.glob(pattern))] == []
    assert len(SOURCES) > 70


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_written_that_compiles_to_something_else(rule: Rule) -> None:
    assert found(rule) == {}


def test_every_slice_with_two_ends_was_looked_at() -> None:
    written = {text for findings in found(slices).values() for text in findings}
    assert written == LOOKED_AT


def test_no_class_of_the_path_has_a_base_in_a_library() -> None:
    enums = {name: [each for each in bases if "enum." not in each] for name, bases in found(bases_of_libraries).items()}
    assert {name: bases for name, bases in enums.items() if bases} == {}


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (slices, "data[10:-4]"),
        (shared_names, "def f():\n try: g()\n except A as e: pass\n except B as e: pass"),
        (awaits_in_handlers, "async def f():\n try: g()\n except A: await h()"),
        (dicts_for_super, "super().__init__(**parts)"),
        (unpacked_gathers, "_, b = await asyncio.gather(x, y)"),
        (bases_of_libraries, "class A(asyncio.Protocol): pass"),
    ],
)
def test_what_breaks_a_rule_is_found(rule: Rule, source: str) -> None:
    assert list(rule(ast.parse(source)))
