# Everything a newcomer needs is one target away; each target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
JSON ?=
PYTEST_WORKERS ?= 2
export JSON

.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.run: requirements.lock pyproject.toml
	@echo "Installing the service into $(VENV) (once; locked, with hashes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "Installing the development tools into $(VENV) (once; locked, with hashes) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.dev ## Install everything into .venv

demo: $(VENV)/.run ## Run the whole service on this machine and watch an order become a text (ARGS=--exit to end after the table)
	@$(BIN)/smsblossom demo $(ARGS)

check: $(VENV)/.dev ## Lint, format, types, import rules
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

test: check ## Everything CI runs: check, migrations in step with the tables, all tests (under 10 min)
	@$(BIN)/python -m pytest -m "not proof" -n $(PYTEST_WORKERS) --dist loadfile $(ARGS)

proof: $(VENV)/.dev ## The long proofs: kills, flushes, faults (JSON=path for the figures)
	@$(BIN)/python -m pytest -m proof -s $(ARGS)

bench: $(VENV)/.dev ## Ingest and webhook-to-provider figures against baselines (JSON=path)
	@$(BIN)/python -m ops.bench.ingest $(ARGS)

bench-queue: $(VENV)/.dev ## The queue engine against stock arq, SAQ and BullMQ (JSON=path; npm and Node for BullMQ)
	@$(BIN)/python -m ops.bench.queue $(ARGS)

lock: $(VENV)/.dev ## Resolve the locks again
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --extra embedded --group build -q -o requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --extra embedded --group build --group dev -q -c requirements.lock -o requirements-dev.lock pyproject.toml

format: $(VENV)/.dev ## Format and fix what can be fixed
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

clean: ## Remove the environment and the local data
	-@test ! -x $(BIN)/python || $(BIN)/python -c 'import pathlib; from smsblossom import embedded; embedded.remove(pathlib.Path(".smsblossom"))'
	rm -rf $(VENV) .smsblossom .pytest_cache .mypy_cache .ruff_cache

.PHONY: help setup demo check test proof bench bench-queue lock format clean
