"""The command line: parses arguments, calls the sidecar's API and prints.

Exit codes: 0 success; 1 the operation failed, or parts of it; 2 wrong usage or configuration; 3 the sidecar cannot be
reached or refuses the token.
"""

from __future__ import annotations


def main() -> None:
    """Run the console script `tracecar`."""
    from sidecar.cli.main import run_command_line

    run_command_line()
