"""Check the rules of the house: `python -m tests.checks [PATH …]`."""

from __future__ import annotations

import argparse
import gc
import sys

from tests.checks.rules import RULES
from tests.checks.rules.dependencies import unused_dependencies
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
    offenses += unused_dependencies(files)
    return [*offenses, *find_banned_in_documents(documents), *missing_paths(documents), *differing_versions()]


def main() -> int:
    """Run the command. Returns 1 where a rule is broken, and 2 where a file has a syntax error."""
    parser = argparse.ArgumentParser(prog="python -m tests.checks", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="show only the offenses below these paths")
    paths = tuple(parser.parse_args().paths)
    try:
        offenses = {offense for offense in find_offenses() if not paths or offense.path.startswith(paths)}
    except SyntaxError as error:
        print(f"{error.filename}:{error.lineno}: {error.msg}")
        return 2
    for offense in sorted(offenses, key=lambda offense: (offense.path, offense.line)):
        print(offense)
    if offenses:
        print(f"{len(offenses)} places break a rule")
    return 1 if offenses else 0


if __name__ == "__main__":
    sys.exit(main())
