"""The direction of imports, what `core` may not know, and who may make a permit.

Reads the sources, runs nothing. Each rule is a function from sources to findings; the findings in the tree are none,
and the last tests feed each rule a source that breaks it.
"""

import ast
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "sidecar"

# Each layer may import itself and every layer below. Parts on one level are strangers, but for `REASONS`.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"app", "demo", "kube"},
    {"config"},
    {"proxy", "control", "workers", "outbound"},
    {"gate"},
    {"bindings", "oidc", "stores"},
    {"http1", "core"},
    {"build", "errors", "clock", "log", "metrics", "field_names", "template"},
    {"__version__"},
)

# Imports between parts of one level, each with its reason.
REASONS = {
    ("bindings", "oidc"): "a binder verifies the ID tokens that it reads",
    ("bindings", "stores"): "a binding is written to the store before the response is released",
}

# Imports downward that the layers would allow and nobody needs; each would be a step towards a tangle.
FORBIDDEN = {
    ("proxy", "oidc"): "the data plane knows sessions, not tokens",
    ("proxy", "bindings"): "only the gate asks whose a request is",
    ("proxy", "stores"): "only the gate asks whose a request is",
    ("gate", "oidc"): "the gate knows sessions, not tokens",
    ("control", "gate"): "the control plane judges no requests",
    ("outbound", "gate"): "what follows a logout judges no requests",
    ("outbound", "config"): "only app reads the configuration",
    ("outbound", "http1"): "aiohttp speaks HTTP to providers",
    ("workers", "gate"): "workers share numbers and logins, not judgements",
    ("proxy", "config"): "only app reads the configuration",
    ("control", "http1"): "aiohttp speaks HTTP for the control plane",
    ("control", "config"): "only app reads the configuration",
    ("workers", "config"): "only app reads the configuration",
    ("workers", "http1"): "aiohttp carries the line between our own processes",
    **{
        ("kube", part): "manifests in, manifests out: only cli puts the webhook on a server"
        for part in ("proxy", "control", "workers", "outbound", "bindings", "oidc", "stores", "http1")
    },
    ("config", "core"): "a configuration is words; app turns them into rules",
    ("oidc", "http1"): "aiohttp speaks HTTP to providers",
    ("stores", "http1"): "a store knows nothing of requests",
    ("bindings", "http1"): "binders get values, not messages",
}

# `core` holds rules. Time, randomness, I/O and logging are for its callers.
NOT_IN_CORE = frozenset(
    ("asyncio", "aiohttp", "redis", "yaml", "pydantic", "uvloop", "socket", "ssl", "time", "logging", "os", "random")
)
NOT_IN_HTTP1 = NOT_IN_CORE | {"threading", "select"}


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """CPython 3.11: a finalizer that formats a traceback while a tree is being built makes `ast.parse` fail."""
    gc.disable()
    yield
    gc.enable()


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield ".".join(path.relative_to(ROOT.parent).with_suffix("").parts), path.read_text()


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported module; for `from sidecar import x` the module `sidecar.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "sidecar":
            yield from (f"sidecar.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def part(module: str) -> str:
    """`sidecar.core.verdict` belongs to `core`."""
    return module.split(".")[1] if "." in module else "__version__"


def level(name: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if name in layer)


def wrong_imports(module: str, source: str) -> list[str]:
    """Imports of this module that go up, aside without a reason, or where none may go."""
    mine = part(module)
    theirs = {part(name) for name in imports(ast.parse(source)) if name.partition(".")[0] == "sidecar"} - {mine}
    return [
        f"{module} imports {other}"
        for other in sorted(theirs)
        if level(other) < level(mine)
        or (level(other) == level(mine) and level(mine) != level("log") and (mine, other) not in REASONS)
        or (mine, other) in FORBIDDEN
    ]


def impurities(module: str, source: str) -> list[str]:
    """What a module without I/O may not contain."""
    banned = {"core": NOT_IN_CORE, "http1": NOT_IN_HTTP1}.get(part(module), frozenset[str]())
    tree = ast.parse(source)
    found = [f"{module} imports {name}" for name in imports(tree) if name.partition(".")[0] in banned]
    if banned:
        asynchronous = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
        found += [f"{module} is asynchronous" for node in ast.walk(tree) if isinstance(node, asynchronous)]
        if part(module) == "core":
            # Clocks and logs through our own modules would be no better.
            found += [f"{module} imports {name}" for name in imports(tree) if part(name) in {"clock", "log", "metrics"}]
    return found


def permit_makers(module: str, source: str) -> list[str]:
    """Calls of `Permit` or `Allow`, and anything that reaches for the ready-made ones.

    The gate may take the permit of `ALLOW`: for the control plane, routes that are not judged, and stripped requests.
    """
    if module == "sidecar.core.verdict":
        return []
    private = {"_SEAL", "_PERMIT", "_FAILING_OPEN"} | (set() if module == "sidecar.gate.gate" else {"ALLOW"})
    tree = ast.parse(source)
    reached = [_name(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.alias)]
    calls = [_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [f"{module} reaches for {name}" for name in reached if name in private] + [
        f"{module} makes a {name}" for name in calls if name in {"Permit", "Allow"}
    ]


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.alias):
        return node.name
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def is_eager_demo_import(source: str) -> bool:
    """Whether importing the module imports the demo."""
    body = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return any(part(name) == "demo" for node in body for name in imports(node) if name.startswith("sidecar."))


def test_every_part_has_a_place() -> None:
    parts = {part(module) for module, _ in sources() if module != "sidecar.__init__"}
    assert parts <= set().union(*LAYERS)


def test_imports_point_downward() -> None:
    assert [finding for source in sources() for finding in wrong_imports(*source)] == []


def test_every_listed_reason_is_still_needed() -> None:
    used = {(part(module), part(name)) for module, source in sources() for name in imports(ast.parse(source))}
    assert set(REASONS) <= used


def test_rules_have_no_clock_no_log_and_no_io() -> None:
    assert [finding for source in sources() for finding in impurities(*source)] == []


def test_only_the_verdict_makes_permits() -> None:
    assert [finding for source in sources() for finding in permit_makers(*source)] == []


def test_only_the_command_line_imports_the_demo_and_only_when_asked() -> None:
    importing = {
        module
        for module, source in sources()
        if part(module) != "demo" and any(part(name) == "demo" for name in imports(ast.parse(source)) if "." in name)
    }
    assert importing == {"sidecar.cli"}
    assert not is_eager_demo_import(dict(sources())["sidecar.cli"])


def test_every_module_says_what_it_is() -> None:
    assert [module for module, source in sources() if not ast.get_docstring(ast.parse(source))] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sidecar.core.verdict", "from sidecar.http1.request import RequestHead"),  # a sibling
        ("sidecar.core.verdict", "from sidecar import app"),  # up
        ("sidecar.http1.request", "import sidecar.core.paths"),
        ("sidecar.gate.gate", "from sidecar.control import ops"),
        ("sidecar.gate.gate", "def f():\n    from sidecar.oidc import verifier"),  # late imports count
        ("sidecar.stores.redis", "from sidecar.bindings import directory"),
        ("sidecar.errors", "from sidecar.core import identity"),
        ("sidecar.control.ops", "from sidecar.config.model import Config"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(wrong_imports(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sidecar.core.verdict", "import time"),
        ("sidecar.core.verdict", "import os.path"),
        ("sidecar.core.verdict", "from asyncio import Queue"),
        ("sidecar.core.verdict", "from sidecar import clock"),
        ("sidecar.core.verdict", "async def f(): pass"),
        ("sidecar.http1.request", "import socket"),
    ],
)
def test_an_impure_rule_is_found(module: str, source: str) -> None:
    assert len(impurities(module, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "permit = verdict.Permit(seal)",
        "from sidecar.core.verdict import _SEAL",
        "x = rules._PERMIT",
        "judged = Allow(stolen)",
        "permit = rules.ALLOW.permit",
    ],
)
def test_a_self_made_permit_is_found(source: str) -> None:
    assert len(permit_makers("sidecar.proxy.exchange", source)) == 1


def test_the_gate_may_take_the_permit_that_nobody_had_to_judge() -> None:
    assert permit_makers("sidecar.gate.gate", "_PERMIT = rules.ALLOW.permit") == []
    assert len(permit_makers("sidecar.gate.gate", "_PERMIT = rules.Permit(rules._SEAL)")) == 2


def test_an_eager_import_of_the_demo_is_found() -> None:
    assert is_eager_demo_import("from sidecar.demo.command import run")
    assert not is_eager_demo_import("def demo():\n    from sidecar.demo.command import run")
