"""The command line: parse, call, print.

Exit codes: 0 done; 1 the operation failed or in part; 2 wrong usage or configuration; 3 the sidecar cannot be reached
or refuses the token.
"""

from __future__ import annotations


def main() -> None:
    """The console script `tracecar`."""
    from sidecar.cli.main import run_command_line

    run_command_line()
