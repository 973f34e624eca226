"""The chart as helm renders it. As a program: writes the snapshots again, for somebody who then reads the diff."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/logout-sidecar"
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
SNAPSHOTS = Path(__file__).parent / "snapshots"
NEWEST = "1.37.0"

Document = dict[str, Any]


def program(name: str) -> str:
    """From the PATH, or beside the Python that runs the tests."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    nowhere = {f"HELM_{kind}_HOME": "/nonexistent" for kind in ("CACHE", "CONFIG", "DATA")}
    command = [program("helm"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **nowhere})


def template(case: str, *words: str, kubernetes: str = NEWEST) -> subprocess.CompletedProcess[str]:
    values = CHART / f"ci/{case}-values.yaml"
    options = ["--namespace", "web", "--kube-version", kubernetes, "-f", str(values)]
    return helm("template", "demo", str(CHART), *options, *words)


def rendered(case: str, *words: str, kubernetes: str = NEWEST) -> list[Document]:
    result = template(case, *words, kubernetes=kubernetes)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def one(documents: list[Document], kind: str, suffix: str = "") -> Document:
    (found,) = [each for each in documents if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)]
    return found


def pod_of(documents: list[Document], suffix: str = "") -> Document:
    pod: Document = one(documents, "Deployment", suffix)["spec"]["template"]
    return pod


def containers(pod: Document) -> dict[str, Document]:
    spec = pod["spec"]
    return {each["name"]: each for each in (*spec.get("initContainers", ()), *spec["containers"])}


def snapshot(case: str) -> str:
    """What helm prints, without the rules and the dashboard: these are files of their own."""
    documents = template(case).stdout.split("---\n")
    return "---\n".join(_shortened(document) for document in documents)


def _shortened(document: str) -> str:
    if "kind: PrometheusRule" in document:
        return document.partition("\nspec:\n")[0] + "\n"
    return document.partition("\ndata:\n  logout-sidecar.json:")[0].rstrip("\n") + "\n" if document else ""


if __name__ == "__main__":
    SNAPSHOTS.mkdir(exist_ok=True)
    for name in CASES:
        (SNAPSHOTS / f"{name}.yaml").write_text(snapshot(name))
