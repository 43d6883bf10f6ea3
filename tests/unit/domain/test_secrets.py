"""Masking of secrets in printed text."""

import pytest

from sidecar.domain.secrets import is_secret, mask_secrets, mask_url


@pytest.mark.parametrize(
    "key", ["password", "sasl_plain_password", "client_secret", "token", "api_key", "Authorization", "headers"]
)
def test_keys_of_secrets_are_known(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", ["token_file", "token_endpoint", "tokens", "username", "key", "keyboard", "group_id"])
def test_other_keys_are_not(key: str) -> None:
    assert not is_secret(key)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pass@host:1/0", "redis://***@host:1/0"),
        ("redis://:p@ss:w/r d?@host/0", "redis://***@host/0"),
        ("redis+sentinel://:p@a:1,b:2/m/0", "redis+sentinel://***@a:1,b:2/m/0"),
        ("https://host/?Token=abc&x=1", "https://host/?Token=***&x=1"),
        ("http://a:b@c http://d:e@f", "http://***@f"),
        ("kafka:9092", "kafka:9092"),
    ],
)
def test_urls_lose_what_is_secret_in_them(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_plain_data_is_masked_however_deep() -> None:
    data = {"a": [{"token": "x", "name": "n"}], "password": "", "headers": {"x": "y"}, "n": 5, "secret": ["a"]}
    assert mask_secrets(data) == {
        "a": [{"token": "***", "name": "n"}],
        "password": "",
        "headers": {"x": "***"},
        "n": 5,
        "secret": "***",
    }
