"""The rules of the house that no library checks: names, prose, sizes and brokers' names.

`python -m tests.checks` is a part of `make check`. Any offense fails.
"""
