"""What the Dockerfile says: user, exec form, pinned base, no shell at run time, no secrets; and hadolint's opinion."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from image_dockerfile import DOCKERFILE, ROOT, Instruction, of_the_image, parse, the

from sidecar import __version__

ALL = parse(DOCKERFILE.read_text())
STAGES = [each.text for each in ALL if each.name == "FROM"]


def test_hadolint_has_nothing_to_say() -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_runs_as_a_user_with_a_number() -> None:
    assert the("USER").text == "65532:65532"


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD", "HEALTHCHECK", "VOLUME"])
def test_nothing_needs_a_shell_to_start(name: str) -> None:
    assert the(name).words


def test_the_last_stage_runs_nothing() -> None:
    assert of_the_image("RUN") == []


def test_the_entry_point_is_the_command_and_the_health_check_asks_it() -> None:
    assert the("ENTRYPOINT").words[0].endswith("/bin/logout-sidecar")
    assert the("CMD").words == ["run", "-c", "/etc/logout-sidecar/sidecar.yaml"]
    assert the("HEALTHCHECK").words == [*the("ENTRYPOINT").words, "health"]


def test_both_stages_have_the_same_base_pinned_to_a_patch_release() -> None:
    assert len(STAGES) == 2
    assert {text.split()[0] for text in STAGES} == {"python:${BASE_TAG}${BASE_DIGEST}"}
    (tag,) = re.findall(r"^ARG BASE_TAG=(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"3\.\d+\.\d+-slim-\w+", tag)


def test_the_base_has_the_python_that_the_project_supports() -> None:
    (minor,) = re.findall(r"^ARG BASE_TAG=(3\.\d+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert f"Python :: {minor}" in (ROOT / "pyproject.toml").read_text()


def test_the_version_of_the_label_is_that_of_the_package() -> None:
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE.read_text()
    assert 'org.opencontainers.image.version="${VERSION}"' in the("LABEL").text


@pytest.mark.parametrize("label", ["title", "description", "licenses", "version", "revision"])
def test_the_image_says_what_it_is(label: str) -> None:
    assert f"org.opencontainers.image.{label}=" in the("LABEL").text


def test_no_secret_is_asked_for_or_set() -> None:
    named = [each.text for each in ALL if each.name in {"ARG", "ENV", "COPY", "ADD"}]
    assert [text for text in named if re.search(r"secret|password|token|\.netrc|\.ssh", text, re.IGNORECASE)] == []


def sources(copy: Instruction) -> list[str]:
    return [word for word in copy.text.split() if not word.startswith("--")][:-1]


def test_everything_that_is_copied_from_here_exists_and_is_let_in() -> None:
    copied = [source for each in ALL if each.name == "COPY" and each.stage == 1 for source in sources(each)]
    admitted = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / source).exists() for source in copied)
    assert sorted(copied) == sorted(admitted)


def test_nothing_else_is_let_in() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] not in "#!"]
    assert lines[0] == "*"


def test_only_the_installed_tree_and_the_empty_state_get_into_the_image() -> None:
    copies = of_the_image("COPY")
    assert [sources(each) for each in copies] == [["/opt/logout-sidecar"], ["/state"]]
    assert all("--from=build" in each.text for each in copies)
    assert "--chown=65532:65532" in copies[1].text


@pytest.mark.parametrize(
    "line", ["ENTRYPOINT logout-sidecar run", 'ENTRYPOINT ["logout-sidecar"', "HEALTHCHECK CMD curl localhost"]
)
def test_a_shell_form_would_be_found(line: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|substring|delimiter"):
        assert parse(line)[0].words
