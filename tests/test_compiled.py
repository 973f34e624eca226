"""What the sources keep to so that the compiled build does what they say (decision 032).

Reads the sources that `pyproject.toml` lists, compiles nothing. The last tests feed each rule what breaks it.
"""

import ast
import importlib
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar import clock
from sidecar.build import IS_COMPILED
from sidecar.gate.gate import Gate
from sidecar.proxy import downstream

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
    "sidecar/core/credentials.py": {
        "text[begin:end]",  # `_end` looks behind `begin`
        "reading[start:_end(end, reading, start)]",  # the same
    },
    "sidecar/core/paths.py": {"path[len(prefix):len(prefix) + 1]"},
    "sidecar/core/voucher.py": {"tags[start:start + DIGEST_BYTES]"},
    "sidecar/gate/enforcement.py": {"path.split(b'/')[1:_FOLDERS + 1]"},  # a list
    "sidecar/http1/blocks.py": {
        "rest[start + 2:end]"
    },  # `end` was looked for behind `start`, a match lies between them
    "sidecar/http1/chunked.py": {
        "data[begin:end]",  # the end is the beginning and a size
        "data[position:end]",  # found behind `position`
        "data[position:position + self._missing]",
        "data[position:position + 2]",
    },
    "sidecar/http1/grammar.py": {"value[1:value.index(b']')]"},  # begins with another bracket
    "sidecar/http1/proxy_protocol.py": {"header[16:20]", "header[16:32]"},
    "sidecar/proxy/frames.py": {"data[start:wide]"},  # two or eight bytes
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


def named_gathers(tree: ast.AST) -> Iterator[str]:
    """What `gather` gives, where it is not dropped, or taken by its index on the spot."""
    waits = {node for node in ast.walk(tree) if isinstance(node, ast.Await) and "gather(" in ast.unparse(node)}
    at_once = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr | ast.Subscript)}
    yield from map(ast.unparse, waits - at_once)


def bases_of_libraries(tree: ast.AST) -> Iterator[str]:
    """A class that inherits from another module than ours, and is meant to be fast."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = ("sidecar", "typing")  # of `typing` the compiler knows what it means
    foreign = {
        each.asname or each.name
        for node in imports
        if (node.module or "").partition(".")[0] not in ours
        for each in node.names
    }
    for node in ast.walk(tree):
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            if isinstance(base, ast.Attribute) or (isinstance(base, ast.Name) and base.id in foreign):
                yield f"{ast.unparse(base)}: {node.name}"


Rule = Callable[[ast.AST], Iterator[str]]
RULES: tuple[Rule, ...] = (shared_names, awaits_in_handlers, dicts_for_super, named_gathers)


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
    assert {name: set(texts) for name, texts in found(slices).items()} == LOOKED_AT


def test_no_class_of_the_path_has_a_base_in_a_library_but_for_enums() -> None:
    every = {base for bases in found(bases_of_libraries).values() for base in bases}
    assert {
        base for base in every if not base.removeprefix("enum.").startswith(("Enum:", "IntEnum:", "StrEnum:"))
    } == set()


def test_nothing_that_was_compiled_lies_beside_the_sources() -> None:
    """It would be taken for them, by the tests as well."""
    assert list((ROOT / "sidecar").rglob("*.so")) == []


@pytest.mark.skipif(not IS_COMPILED, reason="this is the interpreted build")
def test_all_that_is_listed_is_compiled() -> None:
    modules = [importlib.import_module(name.removesuffix(".py").replace("/", ".")) for name in SOURCES]
    assert [module.__file__ for module in modules if not str(module.__file__).endswith(".so")] == []


@pytest.mark.skipif(not IS_COMPILED, reason="this is the interpreted build")
@pytest.mark.parametrize(
    ("holder", "name"),
    [(clock, "wall"), (downstream, "end_of"), (downstream, "Tunnel"), (Gate, "judge"), (Gate, "epoch")],
)
def test_compiled_code_is_not_replaced_in_a_test(monkeypatch: pytest.MonkeyPatch, holder: object, name: str) -> None:
    """Whoever calls it is compiled too and would not notice: such a test would show nothing (`tests/conftest.py`)."""
    with pytest.raises(pytest.fail.Exception, match="is compiled"):
        monkeypatch.setattr(holder, name, None)


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (slices, "data[10:-4]"),
        (shared_names, "def f():\n try: g()\n except A as e: pass\n except B as e: pass"),
        (awaits_in_handlers, "async def f():\n try: g()\n except A: await h()"),
        (dicts_for_super, "super().__init__(**parts)"),
        (named_gathers, "_, b = await asyncio.gather(x, y)"),
        (named_gathers, "both = await gather(x, y)"),
        (bases_of_libraries, "class A(asyncio.Protocol): pass"),
        (bases_of_libraries, "from asyncio import Protocol\nclass A(Protocol): pass"),
    ],
)
def test_what_breaks_a_rule_is_found(rule: Rule, source: str) -> None:
    assert list(rule(ast.parse(source)))
