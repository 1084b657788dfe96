# `make help` lists the targets. Every target makes the environment first; that is quick when nothing changed.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stamps of what the environment holds, from what a user runs to what only some targets need.
READY := $(VENV)/.ready
TEST_READY := $(VENV)/.ready-test
ALL_READY := $(VENV)/.ready-test $(VENV)/.ready-browser $(VENV)/.ready-s3
# Parts of the lock files: extras of pyproject.toml, and dependency groups.
PARTS_test := test dask notify serve store
PARTS_browser := browser lab
PARTS_s3 := s3
PARTS_lint := lint
PARTS_bench := bench lab  # lab: nbconvert, to measure against
PARTS_lab := lab
EXTRAS ?=
SCENARIO ?= idle-in-transaction
STACK ?= supervisor
TESTS ?= tests
FLAGS ?=
# Three times the cores that CI has, for much of it waits.
WORKERS ?= 6

# Packages are compiled as they are first imported (tools/install.py); that must be kept, whatever the caller's habits are.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup lock drill test test-compose test-all test-kills captures lint audit bench check sandbox-up sandbox-down notebooks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv for what a user runs, from the locked, hashed requirements; EXTRAS="serve notify" adds to it
	@[ -z "$(EXTRAS)" ] || $(BIN)/python tools/install.py $(EXTRAS)

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than Python 3.11; set PYTHON=python3.11 or newer" >&2; exit 1; }
	@echo "making $(VENV) from requirements.lock (a minute or so, once)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv --without-pip $(VENV)
	@$(BIN)/python tools/install.py core sandbox build
	@touch $@

$(VENV)/.ready-%: $(READY)
	@$(BIN)/python tools/install.py $(PARTS_$*)
	@touch $@

lock: ## write the lock files anew from pyproject.toml; FLAGS=--upgrade for the newest of everything
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv
	@$(VENV)-lock/bin/python tools/lock.py $(FLAGS)
	@rm -r $(VENV)-lock

drill: $(READY) ## inject SCENARIO into a sandbox of STACK, run its runbook, leave nothing running
	@$(BIN)/flowrex-ops drill run $(SCENARIO) --stack $(STACK) $(FLAGS)

test: $(TEST_READY) ## what needs neither root nor Docker nor a browser, in minutes
	@$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) $(FLAGS)

test-compose: $(ALL_READY) ## what only Docker Engine and a browser show, in minutes
	@$(BIN)/python -m pytest $(TESTS) -n 3 --suite compose $(FLAGS)

test-all: $(ALL_READY) ## everything on both stacks, before a release: every drill, kill point and pair of dead sources
	@$(BIN)/python -m pytest $(TESTS) -n 3 --suite all $(FLAGS)

test-kills: $(ALL_READY) ## 200 kills at moments that a seed chose, and a storm of alerts
	@$(BIN)/python -m pytest $(TESTS) -n 2 --suite kills $(FLAGS)

captures: $(ALL_READY) ## play every drill, and each fault of the foreign platform, and keep what was read
	@FLOWREX_OPS_KEEP_CAPTURES=1 $(BIN)/python -m pytest tests/drills/test_drills.py tests/foreign/test_harbor.py -n $(WORKERS) --suite all $(FLAGS)

lint: $(VENV)/.ready-lint ## ruff, mypy, import rules, stripped notebooks, runbook rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -exec $(BIN)/nbstripout --verify {} +
	@$(BIN)/flowrex-ops runbooks --lint --rules flowrex_sandbox/monitoring/rules.yml
	@$(BIN)/python tools/size.py

audit: ## what is known against the locked packages (asks PyPI), and sbom.json: what there is, in CycloneDX's format
	@$(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/python -m pip install --quiet pip-audit cyclonedx-bom
	@$(VENV)-audit/bin/cyclonedx-py requirements requirements.lock --output-file sbom.json
	@$(VENV)-audit/bin/pip-audit --requirement requirements.lock --require-hashes --disable-pip --no-deps --strict; found=$$?; rm -r $(VENV)-audit; exit $$found

bench: $(VENV)/.ready-bench ## measure speed and memory
	@$(BIN)/python -m pytest tests/benchmarks -o addopts=--strict-markers --benchmark-only --benchmark-columns=min,median,rounds -s $(FLAGS)

check: lint test test-compose ## exactly what CI runs

sandbox-up: $(READY) ## start a sandbox of STACK
	@$(BIN)/flowrex-ops sandbox up --stack $(STACK)

sandbox-down: $(READY) ## stop it and remove what it made
	@$(BIN)/flowrex-ops sandbox down --stack $(STACK)

notebooks: $(VENV)/.ready-lab ## JupyterLab on the runbooks
	@$(BIN)/flowrex-ops notebooks $(FLAGS)

clean: ## stop both sandboxes, remove the environment and caches; records stay
	@if [ -x $(BIN)/flowrex-ops ]; then $(BIN)/flowrex-ops sandbox down --stack supervisor; $(BIN)/flowrex-ops sandbox down --stack compose; fi
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
