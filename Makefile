# `make help` lists the targets. Every target makes the environment first; that is quick when nothing changed.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SCENARIO ?= idle-in-transaction
STACK ?= supervisor
TESTS ?= tests
FLAGS ?=
# More than the two cores that CI has, for drills mostly wait.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup drill test test-compose test-all lint bench check sandbox-up sandbox-down notebooks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv from the locked, hashed requirements

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than Python 3.11; set PYTHON=python3.11 or newer" >&2; exit 1; }
	@echo "making $(VENV) from requirements.lock (a minute or so, once)"
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) cannot make environments; on Debian install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m flowrex_ops.preload
	@touch $@

drill: $(READY) ## inject SCENARIO into a sandbox of STACK, run its runbook, leave nothing running
	@$(BIN)/flowrex-ops drill run $(SCENARIO) --stack $(STACK) $(FLAGS)

test: $(READY) ## what needs neither root nor Docker nor a browser, in minutes
	@$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) $(FLAGS)

test-compose: $(READY) ## what only Docker Engine and a browser show, in minutes
	@$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --suite compose $(FLAGS)

test-all: $(READY) ## everything on both stacks, before a release: every drill, kill point and pair of dead sources
	@$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --suite all $(FLAGS)

lint: $(READY) ## ruff, mypy, import rules, stripped notebooks, runbook rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -exec $(BIN)/nbstripout --verify {} +
	@$(BIN)/flowrex-ops runbooks --lint

bench: $(READY) ## measure speed and memory
	@$(BIN)/python -m pytest tests/benchmarks -o addopts=--strict-markers --benchmark-only --benchmark-columns=min,median,rounds -s $(FLAGS)

check: lint test test-compose ## exactly what CI runs

sandbox-up: $(READY) ## start a sandbox of STACK
	@$(BIN)/flowrex-ops sandbox up --stack $(STACK)

sandbox-down: $(READY) ## stop it and remove what it made
	@$(BIN)/flowrex-ops sandbox down --stack $(STACK)

notebooks: $(READY) ## JupyterLab on the runbooks
	@$(BIN)/flowrex-ops notebooks $(FLAGS)

clean: ## stop both sandboxes, remove the environment and caches; records stay
	@if [ -x $(BIN)/flowrex-ops ]; then $(BIN)/flowrex-ops sandbox down --stack supervisor; $(BIN)/flowrex-ops sandbox down --stack compose; fi
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
