"""Each rule of `make check` finds offenders and accepts correct code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from tests.checks.rules import RULES, brokers, constants, dependencies, documents, imports, names, prose, sizes
from tests.checks.source import Offense, SourceFile


def source(text: str, path: str = "sidecar/room/thing.py") -> SourceFile:
    return SourceFile(path, dedent(text))


def subjects(offenses: Sequence[Offense]) -> list[str]:
    return [offense.subject for offense in offenses]


def test_two_classes_of_one_name_are_found_in_the_product_only() -> None:
    files = [source("class Thing: ...", path) for path in ("sidecar/a.py", "tui/b.py", "tests/c.py")]
    assert [offense.path for offense in names.duplicate_classes(files)] == ["sidecar/a.py", "tui/b.py"]


@pytest.mark.parametrize(
    ("path", "offends"),
    [
        ("sidecar/a/watching.py", True),
        ("sidecar/watching/__init__.py", True),
        ("sidecar/a/setting_aside_letters.py", False),
        ("sidecar/a/passing_history.py", True),
        ("sidecar/decoding/__init__.py", False),
        ("tests/unit/test_watching.py", False),
    ],
)
def test_gerund_modules(path: str, offends: bool) -> None:
    assert bool(list(names.gerund_modules([source("", path)]))) == offends


def test_functions_named_by_a_participle_are_found_but_not_predicates_and_properties() -> None:
    text = """
        def assembled(): ...
        def _drawn(): ...
        def closed(self) -> bool: ...
        def is_settled(self) -> bool: ...
        def feed(): ...
        def dead_lettered(): ...
        class A:
            @property
            def connected(self): ...
            def evicted(self): ...
    """
    assert subjects(list(names.function_names([source(text)]))) == ["assembled", "_drawn", "is_settled", "A.evicted"]


def test_placeholders_are_found_once_for_each_function() -> None:
    text = """
        def f(one):
            for one in range(3):
                found = one
            return [told for told in found]
        def g(letter): ...
    """
    assert sorted(subjects(list(names.variable_names([source(text)])))) == ["f:found", "f:one", "f:told"]


@pytest.mark.parametrize("name", ["COMMIT_RETRY_MAX_S", "MAX_HEADERS_PER_RECORD", "POLL_INTERVAL_S", "_CACHE_BYTES"])
def test_constants_with_subject_and_unit(name: str) -> None:
    assert not list(constants.units([source(f"{name} = 10")]))


@pytest.mark.parametrize(
    "statement",
    [
        "PATIENCE = 5.0",
        "PATIENCE_S = 5.0",
        "MOST_ENTRIES = 5",
        "AT_ONCE: Final = 1 << 4",
        "FIRST_WAIT, BLOCK_MS = 0.1, 5",
        "LONGEST = 5 * 60",
        "MAX_WAIT = 3",
        "SECONDS = 3",
        "RETRY_INTERVAL = 3",
        "_CACHED = -64",
    ],
)
def test_constants_without(statement: str) -> None:
    assert len(list(constants.units([source(statement)]))) == 1


def test_constants_that_are_no_numbers_are_left_alone() -> None:
    text = """
        EVERY = "5s"
        TURN = True
        PATIENCE = (1, 2)
        class Code(IntEnum):
            FAILED = 1
    """
    assert not list(constants.units([source(text)]))


def test_banned_words_in_docstrings_comments_and_messages() -> None:
    text = '''
        """Whatever passes is settled."""
        settled_here = "settle"  # a name is no prose
        def f():
            # Read anew, so that nobody waits.
            raise ValueError("cannot letter it")
        def g():
            """Dead-lettered records, `settled_here` and the event whose id is given."""
    '''
    assert set(subjects(list(prose.banned_words([source(text)])))) == {
        "<module> docstring “settled”",
        "<module> docstring “whatever”",
        "f comment “anew”",
        "f comment “nobody”",
        "f string “letter it”",
    }


def test_banned_words_in_documents() -> None:
    documents = [("docs/a.md", "Whose sidecar this is.\n`settle` is a name.\n")]
    assert subjects(list(prose.find_banned_in_documents(documents))) == ["“whose”"]


@pytest.mark.parametrize(
    ("docstring", "fine"),
    [
        ("Evict whole flows, oldest first.", True),
        ("`POST /v1/failures`: report a failure.", True),
        ("Whether it is closed.", False),
        ("What was lost.", False),
        ("Of the newest page.", False),
        ("Evict whole flows", False),
        ("Read a page.\n\nWhat follows is detail.", True),
    ],
)
def test_first_lines(docstring: str, fine: bool) -> None:
    assert (prose.first_line_problem(docstring) is None) == fine


def test_attributes_are_documented_by_the_same_rule() -> None:
    text = '''
        class A:
            """A thing."""
            seen: int
            """How many."""
            def __init__(self):
                self.lost = False
                """Whether it is lost."""
    '''
    assert subjects(list(prose.first_lines([source(text)]))) == ["A.seen", "A.__init__.self.lost"]


def test_long_files_and_functions() -> None:
    body = "    pass\n" * sizes.MAX_FUNCTION_LINES
    file = SourceFile("sidecar/a.py", f"class A:\n  def f():\n{body}" + "\n" * sizes.MAX_FILE_LINES)
    assert subjects(list(sizes.long_files([file]))) == ["<module>"]
    assert subjects(list(sizes.long_functions([file]))) == ["A.f"]


@pytest.mark.parametrize(
    "expression",
    ["x == 'redis'", "x in ('kafka', 'redis')", "x.startswith('kafka://')", "{'redis': 1}[x]", "config.sources.kafka"],
)
def test_broker_names(expression: str) -> None:
    text = f"def f(x): return {expression}"
    assert subjects(list(brokers.comparisons([source(text)]))) == ["f"]
    assert not list(brokers.comparisons([source(text, "sidecar/adapters/brokers/kafka/a.py")]))


def test_every_rule_is_applied_to_a_clean_file_without_an_offense() -> None:
    text = '"""A thing."""\n\nPOLL_INTERVAL_S = 0.5\n\n\nclass Thing:\n    """A thing."""\n'
    assert not [offense for rule in RULES for offense in rule([source(text)])]


def test_names_that_are_imported_are_there() -> None:
    module = source("import os\nif os:\n    A, B = 1, 2\ndef f(): ...", "sidecar/room/thing.py")
    user = source(
        "from sidecar.room.thing import A, f, gone\nfrom sidecar.room import thing\nfrom os import x", "tests/a.py"
    )
    assert subjects(list(imports.missing_names([module, user]))) == ["sidecar.room.thing.gone"]


def test_documents_name_files_that_exist(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").touch()
    text = "`docs/a.md` [a](a.md#b) `sidecar/gone.py` [b](gone.md) [c](https://example.org)"
    assert subjects(list(documents.missing_paths([("docs/b.md", text)], tmp_path))) == ["sidecar/gone.py", "gone.md"]


@pytest.mark.parametrize(
    ("path", "statement", "rule"),
    [
        ("sidecar/a.py", "import markdown_it.token", "undeclared-import"),
        ("tests/a.py", "import markdown_it.token", "undeclared-import"),
        ("sidecar/a.py", "import pytest", "undeclared-import"),
        ("tests/a.py", "import pytest", None),
        ("sidecar/a.py", "from typer._click.core import Context", None),
        ("sidecar/a.py", "import msgspec._core", "private-import"),
        ("sidecar/a.py", "from msgspec import _core", "private-import"),
        ("sidecar/a.py", "from msgspec import __version__", None),
    ],
)
def test_imported_packages_are_declared(path: str, statement: str, rule: str | None) -> None:
    offenses = list(dependencies.dependencies([source(statement, path)]))
    assert [offense.rule for offense in offenses] == ([] if rule is None else [rule])


def test_declared_packages_are_imported() -> None:
    names = subjects(list(dependencies.unused_dependencies([source("import msgspec")])))
    assert "typer" in names
    assert "msgspec" not in names
