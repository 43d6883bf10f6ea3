"""The baseline: known offenders, one a line, sorted, in one file for each room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.checks.source import Offense

FOLDER = Path(__file__).parent / "baseline"


def room(path: str) -> str:
    """Return the name of the baseline file for the offenders of a path, without its suffix."""
    parts = path.split("/")
    deep = parts[0] in {"sidecar", "tests"} and len(parts) > 2
    return ".".join(parts[: 2 if deep else 1]).removeprefix(".")


def load(folder: Path = FOLDER) -> set[str]:
    """Read all entries. Marks of a merge conflict count as no entries, so both sides' entries are read."""
    lines = (line for file in sorted(folder.glob("*.txt")) for line in file.read_text().splitlines())
    return {line for line in lines if line and not line.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||"))}


def save(entries: Iterable[str], folder: Path = FOLDER) -> None:
    """Write the entries, sorted, and delete the files of rooms that have none."""
    rooms: dict[str, list[str]] = {}
    for entry in sorted(entries):
        rooms.setdefault(room(entry.split(" ", 1)[0]), []).append(entry)
    for file in folder.glob("*.txt"):
        if file.stem not in rooms:
            file.unlink()
    for name, lines in rooms.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def compare(offenses: Sequence[Offense], known: set[str]) -> tuple[list[Offense], list[str]]:
    """Return the new offenses and the entries that no longer offend."""
    current = {offense.entry for offense in offenses}
    return sorted({o for o in offenses if o.entry not in known}, key=lambda o: (o.path, o.line)), sorted(
        known - current
    )


def grown_rules(offenses: Sequence[Offense], known: set[str]) -> dict[str, int]:
    """Return the rules that have more offenders than before, with the difference. Moving an offender is no growth."""
    before = Counter(entry.split(" ")[1] for entry in known)
    after = Counter(entry.split(" ")[1] for entry in {offense.entry for offense in offenses})
    return {rule: count - before[rule] for rule, count in after.items() if count > before[rule]}
