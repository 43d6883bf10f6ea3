"""The documentation site: pages that are written from the code, and the hooks that add them to mkdocs."""
