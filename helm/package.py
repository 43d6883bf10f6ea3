"""Packages the chart for publication: `python -m helm.package --repository URL --image NAME --destination DIRECTORY`.

The chart in the repository names no public address, because a clone or a fork has another one. What needs an address is
added here, from the arguments: home, sources, maintainers, icon, the image, and the annotations of Artifact Hub.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from helm.generate import CHART

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
_KINDS = {"Added": "added", "Changed": "changed", "Fixed": "fixed", "Removed": "removed", "Security": "security"}
_CHART_CHANGE = "Helm chart: "


def changes(version: str) -> list[dict[str, str]]:
    """Return what CHANGELOG.md says of the chart in a version, in the form of Artifact Hub."""
    found: list[dict[str, str]] = []
    section = kind = ""
    for line in CHANGELOG.read_text("utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").split()[0]
        elif line.startswith("### "):
            kind = _KINDS.get(line.removeprefix("### ").strip(), "changed")
        elif section == version and line.startswith(f"- {_CHART_CHANGE}"):
            found.append({"kind": kind or "added", "description": line.removeprefix(f"- {_CHART_CHANGE}")})
        elif section == version and found and line.startswith("  "):
            found[-1]["description"] += f" {line.strip()}"
    return found


def write_metadata(chart: Path, repository: str, image: str, revision: str) -> None:
    """Write the addresses into a copy of the chart."""
    file = chart / "Chart.yaml"
    about = yaml.safe_load(file.read_text("utf-8"))
    owner = repository.rstrip("/").rpartition("/")[0]
    version = about["appVersion"]
    annotations = {
        **about["annotations"],
        "artifacthub.io/images": yaml.safe_dump([{"name": "tracecar", "image": f"{image}:{version}"}]),
        "artifacthub.io/links": yaml.safe_dump(
            [
                {"name": "Configuration", "url": f"{repository}/blob/{revision}/docs/configuration.md"},
                {"name": "Alerts", "url": f"{repository}/blob/{revision}/docs/alerts.md"},
                {"name": "Permissions", "url": f"{repository}/blob/{revision}/docs/permissions.md"},
            ]
        ),
    }
    if named := changes(about["version"]):
        annotations["artifacthub.io/changes"] = yaml.safe_dump(named, allow_unicode=True)
    added = {
        "home": repository,
        "sources": [repository],
        "maintainers": [{"name": owner.rpartition("/")[2], "url": owner}],
        "icon": f"{repository}/raw/{revision}/helm/tracecar/icon.svg",
        "annotations": annotations,
    }
    file.write_text(yaml.safe_dump({**about, **added}, sort_keys=False, allow_unicode=True), "utf-8")
    registry, _, name = image.partition("/")
    values = chart / "values.yaml"
    text = values.read_text("utf-8")
    for key, value in (("registry", registry), ("repository", name)):
        text, count = re.subn(rf'(?m)^  {key}: ""$', f"  {key}: {value}", text, count=1)
        if count != 1:
            raise ValueError(f'values.yaml: expected the line `  {key}: ""` below `image`, found none')
    values.write_text(text, "utf-8")


def package(repository: str, image: str, revision: str, destination: Path, helm: str) -> Path:
    """Package a copy of the chart with its addresses. Returns the archive."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(shutil.copytree(CHART, Path(folder) / "tracecar"))
        write_metadata(chart, repository, image, revision)
        subprocess.run([helm, "lint", "--strict", str(chart)], check=True)
        subprocess.run([helm, "package", str(chart), "--destination", str(destination)], check=True)
        about = yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))
    return destination / f"tracecar-{about['version']}.tgz"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m helm.package", description=__doc__)
    parser.add_argument("--repository", required=True, help="URL of the repository, such as https://HOST/OWNER/NAME")
    parser.add_argument("--image", required=True, help="name of the pushed image, without a tag: REGISTRY/OWNER/NAME")
    parser.add_argument("--revision", required=True, help="tag or commit that links shall point to")
    parser.add_argument("--destination", type=Path, default=Path(), help="directory for the archive")
    parser.add_argument("--helm", default="helm", help="the helm program")
    options = parser.parse_args()
    package(options.repository, options.image, options.revision, options.destination, options.helm)


if __name__ == "__main__":
    main()
