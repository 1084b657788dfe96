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
# The stacks' drills mostly wait, so both stacks are tested side by side.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup drill drills test whole matrix lint bench check sandbox-up sandbox-down notebooks clean

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

test: $(READY) ## run the suite, in under an hour
	@$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --dist loadscope $(FLAGS)

whole: $(READY) ## run everything on both stacks: every test, every drill, every pair of dead sources; takes hours
	@FLOWREX_SUITE=whole $(BIN)/python -m pytest tests -n $(WORKERS) --dist loadscope $(FLAGS)

drills: $(READY) ## play every drill on every stack that it is for; 'test' plays a sample that shows every cause and cure
	@FLOWREX_SUITE=whole $(BIN)/python -m pytest tests/drills -n $(WORKERS) --dist loadscope $(FLAGS)

matrix: $(READY) ## run every runbook with every source and every pair of sources down or hanging, in all ways
	@FLOWREX_SUITE=whole $(BIN)/python -m pytest tests/notebooks/test_dead_source_matrix.py $(FLAGS)

lint: $(READY) ## ruff, mypy, import rules, stripped notebooks, runbook rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -exec $(BIN)/nbstripout --verify {} +
	@$(BIN)/flowrex-ops runbooks --lint

bench: $(READY) ## measure speed and memory
	@$(BIN)/python -m pytest tests/benchmarks -o addopts=--strict-markers --benchmark-only --benchmark-columns=min,median,rounds -s $(FLAGS)

check: lint test ## exactly what CI runs

sandbox-up: $(READY) ## start a sandbox of STACK
	@$(BIN)/flowrex-ops sandbox up --stack $(STACK)

sandbox-down: $(READY) ## stop it and remove what it made
	@$(BIN)/flowrex-ops sandbox down --stack $(STACK)

notebooks: $(READY) ## JupyterLab on the runbooks
	@$(BIN)/flowrex-ops notebooks $(FLAGS)

clean: ## stop both sandboxes, remove the environment and caches; records stay
	@if [ -x $(BIN)/flowrex-ops ]; then $(BIN)/flowrex-ops sandbox down --stack supervisor; $(BIN)/flowrex-ops sandbox down --stack compose; fi
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
