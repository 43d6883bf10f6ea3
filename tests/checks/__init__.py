"""The rules of the house that no library checks: names, prose, sizes and brokers' names.

`python -m tests.checks` (a part of `make check`) compares the tree with the baseline, the list of offenders that were
there when a rule began. A new offender fails, and so does a baseline entry that no longer offends, so the list only
shrinks. `make baseline` removes such entries.
"""
