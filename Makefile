# Two commands on a fresh machine do everything: `make demo` and `make test`.
# Needs Python 3.11 or later and make; the rest is installed into .venv from the package indexes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A worker for each core.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick check lint bench docs clean

help: ## List the targets
	@awk -F ':.*## *' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.runtime ## Load three generated months into embedded DuckDB through Prefect, and query them
	$(BIN)/nyctaxi ingest --color yellow --year 2021 --months 1-3 --source sample
	$(BIN)/nyctaxi zones --source sample
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev ## Run every test, a real Postgres included
	$(PYTEST)

test-quick: $(VENV)/.dev ## Run the tests that need no server
	$(PYTEST) -m "not server"

lint: $(VENV)/.dev ## Style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## What CI runs: lint, then the tests with branch coverage
	$(MAKE) test PYTEST_ADDOPTS="--cov --cov-report=term"

docs: $(VENV)/.runtime ## Write the generated parts of the pages, what was measured among them
	$(BIN)/python docs/generate.py
	$(BIN)/python bench/page.py

bench: $(VENV)/.dev ## Measure beside what others use, in one run
	$(BIN)/python bench/bench.py

clean: ## Remove what the targets made
	rm -rf $(VENV) .venvs build dist .coverage* htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
