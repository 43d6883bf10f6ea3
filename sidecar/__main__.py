"""`python -m sidecar`: the command line where the console script is not at hand."""

from sidecar.cli import main

main()
