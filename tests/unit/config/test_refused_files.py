"""Messages about wrong files: all mistakes at once, in exactly the words of `NAME.txt` beside `NAME.yaml`."""

from pathlib import Path

import pytest

from sidecar.config.loader import load
from sidecar.domain.errors import ConfigError

REFUSED = Path(__file__).parent / "files" / "refused"
ENVIRON = {"PORT": "seven", "BROKEN": "geheim\n"}


@pytest.mark.parametrize("name", sorted(path.stem for path in REFUSED.glob("*.yaml")))
def test_every_mistake_has_its_path_expectation_and_finding(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(REFUSED / f"{name}.yaml", ENVIRON)
    said = str(refused.value).replace(f"{REFUSED}/", "")
    assert said + "\n" == (REFUSED / f"{name}.txt").read_text()


def test_messages_contain_no_secrets() -> None:
    for path in REFUSED.glob("*.txt"):
        assert "geheim" not in path.read_text(), path.name


def test_each_file_has_its_words() -> None:
    assert {path.stem for path in REFUSED.glob("*.yaml")} == {path.stem for path in REFUSED.glob("*.txt")}
