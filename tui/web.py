"""Placeholder until written."""


def serve(url: str, trace_url: str | None, port: int) -> int:
    return 1
