"""The pages of `docs/recipes`: each is whole, its configuration loads as it stands, and the index says what it says."""

import re
from pathlib import Path

import pytest
from bench_recipes import RECIPES, RecipeApp, block, recipe

from sidecar.config.load import load
from sidecar.config.model import Config

PAGES = sorted(page.stem for page in RECIPES.glob("*.md") if page.stem != "README")
_ROW = re.compile(r"^\| \[[^\]]+\]\(([\w-]+)\.md\) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
INDEX = {name: tuple(columns) for name, *columns in _ROW.findall((RECIPES / "README.md").read_text())}

every_page = pytest.mark.parametrize("name", PAGES)


def kinds(base: type[RecipeApp]) -> set[type[RecipeApp]]:
    return {base}.union(*map(kinds, base.__subclasses__()))


def loaded(name: str, folder: Path) -> Config:
    """The page's configuration, with made-up secret files and nothing else changed."""
    secret, file = folder / "secret", folder / "sidecar.yaml"
    secret.write_bytes(b"made up for this test")
    file.write_text(re.sub(r"file: /run/secrets/[\w-]+", f"file: {secret}", block(name, "yaml")))
    return load(str(file))


def test_the_index_has_every_page() -> None:
    assert sorted(INDEX) == PAGES
    assert len(PAGES) >= 9


@every_page
def test_a_page_has_its_four_parts(name: str) -> None:
    headings = re.findall(r"^## (.+)$", (RECIPES / f"{name}.md").read_text(), re.MULTILINE)
    assert headings == ["In the app", "The sidecar", "See that it works", "Traps"]


@every_page
def test_the_configuration_of_a_page_can_be_used_as_it_stands(name: str, tmp_path: Path) -> None:
    config = loaded(name, tmp_path)
    assert config.session.credentials
    assert config.session.bind


@every_page
def test_the_index_tells_the_binder_and_the_credentials_of_a_page(name: str, tmp_path: Path) -> None:
    session = loaded(name, tmp_path).session
    binders = ", ".join(f"`{binder.from_}`" for binder in session.bind)
    credentials = ", ".join(f"{each.carrier.replace('_', ' ')} `{each.name}`" for each in session.credentials)
    assert INDEX[name][:2] == (binders, credentials)


@every_page
def test_a_page_says_whether_somebody_has_run_it(name: str) -> None:
    tested = {kind.recipe for kind in kinds(RecipeApp) if hasattr(kind, "recipe")}
    text = (RECIPES / f"{name}.md").read_text()
    assert INDEX[name][2].startswith("tested" if name in tested else "from documentation")
    assert ("**From documentation**" in text) == (name not in tested)


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds(RecipeApp) if hasattr(kind, "recipe")], ids=lambda kind: kind.__name__
)
def test_an_app_is_run_with_what_its_page_says(kind: type[RecipeApp]) -> None:
    session = recipe(kind.recipe)["session"]
    assert session["credentials"][0] == {"cookie": kind.cookie}
    assert session["bind"][0]["callback"] == kind.callback
