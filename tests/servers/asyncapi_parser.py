"""AsyncAPI's own parser, which validates documents: two npm packages, installed once into the user's cache
directory."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("@asyncapi/parser@3.6.6", "@asyncapi/avro-schema-parser@3.1.0")
SCRIPT = """
import { Parser } from "@asyncapi/parser";
import { AvroSchemaParser } from "@asyncapi/avro-schema-parser";
import fs from "node:fs";
const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());
const { document, diagnostics } = await parser.parse(fs.readFileSync(0, "utf8"));
const list = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path }));
console.log(JSON.stringify({ parsed: Boolean(document), diagnostics: list }));
"""


def missing() -> str | None:
    """Return why the parser is not available here, or None."""
    absent = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"{' and '.join(absent)} missing: install Node.js" if absent else None


def bring() -> Path:
    """Return the directory of the parser, installed first if needed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tracecar"
    home = cache / f"asyncapi-parser-{PACKAGES[0].rpartition('@')[2]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "asyncapi-parser.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            (home / "package.json").write_text('{"private": true, "type": "module"}')
            (home / "parse.mjs").write_text(SCRIPT)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", *PACKAGES]
            subprocess.run(command, cwd=home, check=True)
            (home / "ready").touch()
    return home


def parse(document: str) -> dict[str, Any]:
    """Parse a document. Returns whether it was `parsed`, and its `diagnostics` (severity 0: an error)."""
    output = subprocess.run(
        ["node", "parse.mjs"], cwd=bring(), input=document.encode(), capture_output=True, check=True
    )
    answer: dict[str, Any] = json.loads(output.stdout)
    return answer
