"""The documents say what the code does: links, files, settings, commands, metrics, log events, reasons.

Each rule reads the documents and the sources. Where a name exists in the code and not on the page, or the other way
round, the test shows the name.
"""

import ast
import gc
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import Metric

from sidecar import metrics
from sidecar.cli import main
from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.core.profiles import PROFILES
from sidecar.core.verdict import Reason
from sidecar.gate.counts import Counts
from sidecar.proxy.stats import Stats

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()

PRODUCT = [path for path in sorted((ROOT / "sidecar").rglob("*.py")) if "demo" not in path.parts]
# Whose errors are the reasons of a refused logout token.
LOGOUT_PATH = (
    "core/claims.py",
    "core/logout_token.py",
    "oidc/signature.py",
    "oidc/verifier.py",
    "control/body.py",
    "control/form.py",
    "control/intake.py",
    "control/logout.py",
)
OTHER_PATHS = (
    "core/admin_action.py",
    "core/security_event.py",
    "core/subject.py",
    "core/token_revocation.py",
    "control/admin_action.py",
    "control/events.py",
    "control/frontchannel.py",
    "control/token_revocation.py",
)
LOGOUT_ERRORS = {"TokenError", "UnknownKey", "BadRequest", "SidecarError", "Unauthorized"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


# Links


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """CPython 3.11: a finalizer that formats a traceback while a tree is being built makes `ast.parse` fail."""
    gc.disable()
    yield
    gc.enable()


def links(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose)
    return [link for link in found if not link.startswith(("http://", "https://"))]


def anchors(text: str) -> set[str]:
    """As GitHub makes them: lower case, punctuation dropped, blanks to hyphens."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_broken(link: str, page: Path) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return not target.exists() or bool(anchor and anchor not in anchors(target.read_text()))


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page.read_text()) if is_broken(link, page)] == []


@pytest.mark.parametrize("link", ["docs/nowhere.md", "docs/operations.md#nowhere", "#nowhere"])
def test_a_broken_link_would_be_found(link: str) -> None:
    assert links(f"see [here]({link})") == [link]
    assert is_broken(link, ROOT / "README.md")


@every_page
def test_no_page_uses_long_dashes(page: Path) -> None:
    assert re.findall("[\u2013\u2014].*", page.read_text()) == []


@every_page
def test_no_line_is_wider_than_the_page(page: Path) -> None:
    assert too_wide(page.read_text()) == []


def too_wide(text: str) -> list[str]:
    """Of the prose: tables and what is quoted from elsewhere are as wide as they are."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")]


def test_a_wide_line_would_be_found() -> None:
    wide = "x " * 61
    assert too_wide(f"# A\n\n| {wide} |\n\n```\n{wide}\n```\n\n{wide}\n") == [wide]


# Files


def test_every_file_that_the_architecture_page_names_exists() -> None:
    prose = re.sub(r"\]\([^)]*\)", "]", ARCHITECTURE)
    named = re.findall(r"[\w./]+\.py\b|\b\w+/(?=[\s`,])", prose)
    assert len(named) > 40
    assert [name for name in named if not any((folder / name).exists() for folder in (ROOT / "sidecar", ROOT))] == []


def test_the_architecture_page_names_every_part_of_the_house() -> None:
    parts = {path.relative_to(ROOT / "sidecar").parts[0] for path in (ROOT / "sidecar").rglob("*.py")}
    missing = {part for part in parts if part not in ARCHITECTURE}
    assert missing == {"__init__.py", "__main__.py"}


def test_every_decision_is_listed() -> None:
    decisions = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    assert (
        sorted(re.findall(r"\(decisions/(\d{3}-[\w-]+\.md)\)", ARCHITECTURE.partition("## Decisions")[2])) == decisions
    )


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_has_its_three_parts_and_its_number(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.name[:3]}: ")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[\[>=<;! ]", requirement)[0] for requirement in required}
    page = (ROOT / "docs/decisions/006-dependencies.md").read_text()
    assert names - set(re.findall(r"^\| ([\w-]+) \| \w.* \|$", page, re.MULTILINE)) == set()


# Settings and commands


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Every fenced block of a language, with the place where it stands."""
    for page in PAGES:
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            line = page.read_text().count("\n", 0, match.start()) + 1
            yield f"{page.relative_to(ROOT)}:{line}", match[1]


def configurations() -> list[tuple[str, str]]:
    return [(place, text) for place, text in blocks("yaml") if "kind" not in yaml.safe_load(text)]


SECTIONS = yaml.safe_load("""
upstream: {url: http://127.0.0.1:8080}
providers: [{issuer: https://idp.example.com, client_id: app}]
session: {credentials: [{cookie: sid}], bind: [{from: token_endpoint, callback: /callback}]}
""")


@pytest.mark.parametrize(("place", "text"), configurations(), ids=[place for place, _ in configurations()])
def test_every_configuration_can_be_loaded(place: str, text: str, tmp_path: Path) -> None:
    """Sections that an excerpt leaves out are filled in; secret files are made up."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"made up for this test")
    file = tmp_path / "sidecar.yaml"
    file.write_text(re.sub(r"file: /run/secrets/[\w-]+", f"file: {secret}", text))
    missing = {name: section for name, section in SECTIONS.items() if name not in yaml.safe_load(text)}
    if missing:
        file.write_text(file.read_text() + yaml.safe_dump(missing))
    assert isinstance(load(str(file)), Config), place


def test_there_are_whole_configurations_to_look_at() -> None:
    assert sum(SECTIONS.keys() <= yaml.safe_load(text).keys() for _, text in configurations()) >= 2


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:`|^)make ([\w-]+)", page.read_text(), re.MULTILINE)}
    assert named >= {"demo", "demo-check", "test"}
    assert named <= targets


def test_every_command_in_the_documents_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    ([\w-]+)", capsys.readouterr().out, re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`logout-sidecar ([a-z][\w-]*)", page.read_text())}
    assert named == known
    table = (ROOT / "README.md").read_text().partition("## Command line")[2].partition("## Endpoints")[0]
    assert set(re.findall(r"`logout-sidecar ([a-z][\w-]*)", table)) == known


def test_every_setting_that_the_documents_name_exists() -> None:
    sections = "|".join(Config.model_fields)
    pattern = rf"`(?:({sections})\.(\w+))(?:\.\w+)*`"
    for page in PAGES:
        for section, key in re.findall(pattern, page.read_text()):
            annotation = Config.model_fields[section].annotation
            assert annotation is not None
            assert key in annotation.model_fields, f"{page.name}: {section}.{key}"


# Metrics


def exported() -> set[str]:
    families: list[Metric] = [*metrics.registry.collect(), *Stats().collect(), *Counts().collect()]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_every_metric_is_explained() -> None:
    assert len(exported()) > 20
    assert {name for name in exported() if f"| `{name}` |" not in OPERATIONS} == set()


@every_page
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(rf"\b{metrics.PREFIX}_\w+", page.read_text()))
    assert {name for name in named if re.sub(r"_(bucket|sum|count)$", "", name) not in exported()} == set()


# Log events and reasons


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, with the name of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            yield called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", ""), node


def texts(call: ast.Call, position: int) -> Iterator[str]:
    if len(call.args) > position:
        argument = call.args[position]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value


EVENT_POSITION = {"event": 2, "Repeated": 2, "exception": 0, "critical": 0, "error": 0, "warning": 0, "info": 0}


def events() -> set[str]:
    found = (
        texts(call, EVENT_POSITION[name]) for path in PRODUCT for name, call in calls(path) if name in EVENT_POSITION
    )
    return {event for each in found for event in each}


def reasons(paths: list[Path], is_error: Callable[[str], bool], position: int = 0) -> set[str]:
    found = (texts(call, position) for path in paths for name, call in calls(path) if is_error(name))
    return {reason for each in found for reason in each}


def unexplained(names: set[str], heading: str) -> set[str]:
    """Names that stand in no first column below this heading."""
    section = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,3}} |\Z)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert section is not None, heading
    columns = re.findall(r"^\| (.+?) \|", section[2], re.MULTILINE)
    explained = {name for column in columns for name in re.findall(r"`([^`]+)`", column)}
    return names - explained


def test_every_log_event_is_explained() -> None:
    assert events() >= {"started", "logout_token", "feed_fault", "exchange_failed"}
    assert unexplained(events(), "Log events") == set()


def test_every_reason_of_a_denial_is_explained() -> None:
    assert unexplained({reason.value for reason in Reason}, "Denied requests") == set()


def test_every_reason_of_a_refused_callback_is_explained() -> None:
    found = reasons(PRODUCT, lambda name: name == "CallbackRefused")
    assert found >= {"callback_with_body", "bad_token", "too_many_codes"}
    assert unexplained(found, "Denied requests") == set()


def test_every_reason_of_a_refused_logout_token_is_explained() -> None:
    paths = [ROOT / "sidecar" / name for name in LOGOUT_PATH]
    found = reasons(paths, LOGOUT_ERRORS.__contains__)
    assert found >= {"exp_missing", "unknown_kid", "duplicate_parameter"}
    assert unexplained(found, "Refused logout tokens") == set()


def test_every_reason_of_a_refused_message_is_explained() -> None:
    found = reasons([ROOT / "sidecar" / name for name in OTHER_PATHS], LOGOUT_ERRORS.__contains__)
    assert found >= {"subject_unusable", "too_many", "credential_missing", "no_session_ids"}
    assert unexplained(found, "Refused messages") & unexplained(found, "Refused logout tokens") == set()


def test_every_reason_of_the_store_is_explained() -> None:
    found = reasons(PRODUCT, lambda name: name in {"StoreError", "StoreUnusable"})
    found |= set(re.findall(r'"(store_\w+)"\)?[,)]', (ROOT / "sidecar/stores/redis_client.py").read_text()))
    found |= set(re.findall(r'Store\w+, "(store_\w+)"', (ROOT / "sidecar/stores/sqlite_file.py").read_text()))
    assert found >= {"store_full", "store_auth", "store_corrupt", "log_gap"}
    assert unexplained(found, "Store") == set()


def test_every_reason_of_missing_keys_is_explained() -> None:
    found = reasons(PRODUCT, lambda name: name == "KeysUnavailable")
    assert found >= {"unreachable", "issuer_mismatch"}
    assert unexplained(found, "Keys") == set()


def test_every_way_in_which_the_app_fails_is_explained() -> None:
    found = reasons(PRODUCT, lambda name: name == "UpstreamError", position=1)
    assert found >= {"upstream_unreachable", "upstream_busy"}
    assert unexplained(found, "The app is down") == set()


# Profiles


def profile_row(name: str) -> str:
    return next((line for line in OPERATIONS.splitlines() if line.startswith(f"| `{name}` |")), "")


@pytest.mark.parametrize("name", PROFILES)
def test_the_operations_page_shows_what_a_profile_declares(name: str) -> None:
    row = profile_row(name)
    assert row
    prefixed = ("__Host-", "__Secure-")
    declared = [each.name for each in PROFILES[name].declared if not each.name.startswith(prefixed)]
    assert [each for each in declared if f"`{each}`" not in row] == []
