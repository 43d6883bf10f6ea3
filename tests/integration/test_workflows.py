"""The workflows of GitHub Actions: their syntax, and what their scripts read from this repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import kubernetes_tools
from tests.servers.images import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
LINTER = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
DIGEST = f"sha256:{'1' * 64}"
BASH = shutil.which("bash")

pytestmark = [pytest.mark.slow, pytest.mark.system]


def _step(workflow: str, job: str, name: str) -> Any:
    steps = yaml.safe_load((WORKFLOWS / workflow).read_text())["jobs"][job]["steps"]
    return next(step for step in steps if step.get("id") == name)


def _outputs(step: Any, folder: Path, **environment: str) -> dict[str, str]:
    """Run the script of a step as GitHub does, on a copy of the Dockerfile, and return its outputs."""
    shutil.copy(ROOT / "Dockerfile", folder)
    output = folder / "output"
    variables = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(output),
        "GITHUB_REPOSITORY": "Acme/Tracecar",
        "GITHUB_REPOSITORY_OWNER": "Acme",
        **environment,
    }
    subprocess.run([str(BASH), "-e", "-c", step["run"]], cwd=folder, env=variables, check=True, timeout=60)
    return dict(line.split("=", 1) for line in output.read_text().splitlines())


def _stub(folder: Path, program: str, script: str) -> None:
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)


def _pinned() -> tuple[str, str]:
    found = re.search(r"^FROM (\S+)@(\S+) AS python$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1], found[2]


@pytest.mark.skipif(kubernetes_tools.find_go() is None, reason="needs Go, which builds actionlint")
def test_the_workflows_pass_their_linter() -> None:
    go = str(kubernetes_tools.find_go())
    done = subprocess.run([go, "run", LINTER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_release_labels_the_image_with_its_base(tmp_path: Path) -> None:
    name, digest = _pinned()
    assert _outputs(_step("release.yml", "image", "base"), tmp_path) == {"name": name, "digest": digest}


def test_a_release_publishes_under_lower_case_names(tmp_path: Path) -> None:
    names = _outputs(_step("release.yml", "build", "names"), tmp_path)
    assert names == {"image": "ghcr.io/acme/tracecar", "charts": "ghcr.io/acme/charts"}


def test_the_rebuild_takes_the_newest_base_of_the_same_python(tmp_path: Path) -> None:
    _stub(tmp_path, "git", 'case "$1" in tag) echo v1.2.3;; rev-parse) echo abc;; esac')
    _stub(tmp_path, "docker", f'case "$*" in *imagetools*) echo {DIGEST};; esac')
    outputs = _outputs(_step("rebuild.yml", "image", "release"), tmp_path)
    assert (outputs["image"], outputs["version"], outputs["revision"]) == ("ghcr.io/acme/tracecar", "1.2.3", "abc")
    assert outputs["digest"] == DIGEST
    major, minor = _pinned()[0].partition(":")[2].split(".")[:2]
    assert re.fullmatch(rf"docker\.io/library/python:{major}\.{minor}-slim-[a-z]+", outputs["base"])


@pytest.mark.parametrize(("workflow", "step"), [("release.yml", "base"), ("rebuild.yml", "release")])
def test_the_pushed_image_has_the_labels_of_its_base(workflow: str, step: str) -> None:
    labels = _step(workflow, "image", "push")["with"]["labels"]
    for label in ("name", "digest"):
        assert re.search(rf"^org\.opencontainers\.image\.base\.{label}=\${{{{ steps\.{step}\.outputs\.", labels, re.M)
