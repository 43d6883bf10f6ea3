"""Check the rules of the house, or shrink the baseline: `python -m tests.checks [--baseline] [PATH …]`."""

from __future__ import annotations

import argparse
import gc
import sys

from tests.checks import baseline
from tests.checks.rules import RULES
from tests.checks.rules.documents import missing_paths
from tests.checks.rules.prose import find_banned_in_documents
from tests.checks.rules.versions import differing_versions
from tests.checks.source import Offense, read_documents, read_python


def find_offenses() -> list[Offense]:
    """Apply every rule to the whole tree."""
    gc.disable()  # a syntax tree has many nodes and no garbage
    files = read_python()
    offenses = [offense for rule in RULES for offense in rule(files)]
    documents = read_documents()
    return [*offenses, *find_banned_in_documents(documents), *missing_paths(documents), *differing_versions()]


def main() -> int:
    """Run the command. Returns 1 for a new offender or an outdated baseline."""
    parser = argparse.ArgumentParser(prog="python -m tests.checks", description=__doc__)
    parser.add_argument(
        "--baseline", action="store_true", help="rewrite the baseline; refused where a rule's count grew"
    )
    parser.add_argument("--begin", action="store_true", help="with --baseline: accept all offenders of a new rule")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="show all offenders below these paths, known ones too")
    options = parser.parse_args()
    try:
        offenses, known = find_offenses(), baseline.load()
    except SyntaxError as error:
        print(f"{error.filename}:{error.lineno}: {error.msg}")
        return 2
    if options.paths:
        shown = sorted({o for o in offenses if o.path.startswith(tuple(options.paths))}, key=lambda o: (o.path, o.line))
        print(*shown, f"{len(shown)} offenders", sep="\n")
        return 0
    fresh, stale = baseline.compare(offenses, known)
    if options.baseline:
        return _rewrite(offenses, known, begin=options.begin)
    for offense in fresh:
        print(offense)
    for entry in stale:
        print(f"no longer offends: {entry}")
    if stale:
        print("run `make baseline` and commit tests/checks/baseline, so that the list only shrinks")
    if fresh:
        print(f"{len(fresh)} new offenders. Renamed or moved files: `make baseline` updates their entries")
    return 1 if fresh or stale else 0


def _rewrite(offenses: list[Offense], known: set[str], *, begin: bool) -> int:
    grown = baseline.grown_rules(offenses, known)
    if grown and not begin:
        for offense in baseline.compare(offenses, known)[0]:
            if offense.rule in grown:
                print(offense)
        print("the baseline may only shrink; new offenders by rule:", grown)
        return 1
    entries = {offense.entry for offense in offenses}
    baseline.save(entries)
    print(f"{len(entries)} known offenders ({len(entries) - len(known):+d})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
