# All that a newcomer needs is Python 3.11 or later and make: `make demo`, then `make test`.

UV_VERSION := 0.13.9
ARGS ?=
WORKERS ?= 2
WITHOUT_SERVERS := not slow and not kafka and not valkey and not registry and not zipkin and not system
REDIS_VERSIONS ?= 6.2.14 7.0.15
KAFKA_VERSIONS ?= 3.9.1 4.3.1
REDIS_TESTS := $(wildcard tests/contracts/test_*redis*.py tests/integration/test_redis_*.py tests/integration/test_index_redis_*.py)
KAFKA_TESTS := $(wildcard tests/contracts/test_*kafka*.py tests/integration/test_kafka_*.py)
SYNCED := .venv/.synced
UV := .tools/bin/uv
UV_READY := .tools/.uv-$(UV_VERSION)

export UV_PYTHON_DOWNLOADS := never
# Images of containers often set this. Every process of the tests would then compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo unit test test-versions check format chart bench profile docs pictures clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="…" goes to the program behind: make demo ARGS="--broker kafka", make test ARGS="-k query"'

setup: $(SYNCED) ## Install everything into .venv (and uv, which does it, into .tools)

demo: $(SYNCED) ## Run the demo: a shop publishes events, some with faults, and Tracecar runs beside it
	@.venv/bin/tracecar demo $(ARGS)

unit: $(SYNCED) ## Run the tests without servers, in parallel: the fast loop
	@.venv/bin/python -m pytest -q -n $(WORKERS) -m "$(WITHOUT_SERVERS)" tests/unit tests/contracts $(ARGS)

test: $(SYNCED) ## Run all tests, on real servers. With NO_SKIP=1, a skipped test is a failure
	@.venv/bin/python -m tests.servers.prefetch
	@.venv/bin/python -m pytest -n $(WORKERS) --dist loadgroup $(if $(NO_SKIP),-p tests.no_skip) $(ARGS)

test-versions: $(SYNCED) ## Run the broker tests on other versions of Redis and Kafka
	@for version in $(REDIS_VERSIONS); do echo "Redis $$version"; \
	  TRACECAR_TEST_REDIS_VERSION=$$version .venv/bin/python -m pytest -q $(REDIS_TESTS) $(ARGS) || failed=1; done; \
	for version in $(KAFKA_VERSIONS); do echo "Kafka $$version"; \
	  TRACECAR_TEST_KAFKA_VERSION=$$version .venv/bin/python -m pytest -q $(KAFKA_TESTS) $(ARGS) || failed=1; done; \
	exit $${failed:-0}

check: $(SYNCED) ## Check lint, format, project rules, spelling, types and imports
	.venv/bin/python -m tests.checks
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/codespell
	.venv/bin/mypy
	.venv/bin/lint-imports

format: $(SYNCED) ## Format the code
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format

chart: $(SYNCED) ## Generate parts of the Helm chart: the schema of its values, and the table in its README
	@.venv/bin/python -m helm.generate

bench: $(SYNCED) ## Measure Tracecar beside a minimal hand-written consumer
	@.venv/bin/python -m tests.bench $(ARGS)

profile: $(SYNCED) ## Where the processor time of an event goes, stage by stage
	@.venv/bin/python -m tests.bench.profile $(ARGS)

docs: $(SYNCED) ## Build the documentation site into dist/site; a broken link fails
	@$(UV) sync --quiet --frozen --extra demo --extra history --extra test --extra docs --python .tools/bin/python
	@PYTHONPATH=. NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

pictures: $(SYNCED) ## Create the README's pictures of the dashboard, from the demo
	@.venv/bin/python -m tests.tui.pictures

clean: ## Remove what `make setup` installed, and caches within this folder
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(SYNCED): uv.lock pyproject.toml $(UV_READY)
	@echo "Installing Tracecar with what its demo and tests need into .venv (about 110 MB from PyPI, unless cached) …"
	@$(UV) sync --frozen --extra demo --extra history --extra test --python .tools/bin/python
	@touch $@

# A virtual environment of its own for uv, made with the newest suitable Python there is. Debian splits ensurepip off
# from Python; there, pip itself (if it is there) puts uv in place.
$(UV_READY):
	@set -e; python=; \
	for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	  if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then python="$$name"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Tracecar needs Python 3.11 or later; found: $$(python3 --version 2>&1 || true)" >&2; \
	  echo "Install it (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python) and try again." >&2; \
	  exit 1; \
	fi; \
	echo "Using $$($$python --version) ($$(command -v $$python))."; \
	echo "Installing uv $(UV_VERSION) into .tools (about 25 MB from PyPI, unless cached) …"; \
	rm -rf .tools; \
	if "$$python" -m venv .tools >/dev/null 2>&1; then \
	  .tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	elif "$$python" -m venv --without-pip .tools && "$$python" -m pip --version >/dev/null 2>&1; then \
	  "$$python" -m pip --python .tools/bin/python install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	else \
	  rm -rf .tools; \
	  echo "This Python can make no virtual environment with pip in it. Debian, Ubuntu: apt install python3-venv" >&2; \
	  exit 1; \
	fi; \
	touch $@
