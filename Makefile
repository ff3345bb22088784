# The same targets locally and in CI. Every target that needs the environment makes it, once: the stamp files in .venv
# are older than pyproject.toml and constraints.txt only when something has to be installed again.
# constraints.txt is always given: without it pip would choose a torch of its own, gigabytes larger.

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup setup-demo setup-dev demo test lint format type docs bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

setup: .venv/.setup  ## install the core, without torch
setup-demo: .venv/.setup-demo  ## install what training and comparing need
setup-dev: .venv/.setup-dev  ## install everything that tests and checks need

demo: setup-demo  ## three fine-tunes with one loss curve, of which one is right: checked, trained, compared
	@$(BIN)/finetooth demo

test: setup-dev  ## run the tests; ARGS="-k name" goes to pytest
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

lint: setup-dev  ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup-dev  ## mend style and formatting
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

type: setup-dev  ## check types
	@$(BIN)/mypy

docs: setup-dev  ## check links, and run the console blocks of the README and the docs
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/test_readme.py

bench: setup-dev  ## run the benchmarks; ARGS go to each
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file $(ARGS); done

clean:  ## remove what tools left behind, but not the environment
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -m venv .venv

.venv/.setup: pyproject.toml constraints.txt | .venv/bin/python
	@$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

.venv/.setup-demo: pyproject.toml constraints.txt | .venv/bin/python
	@$(PIP) install --quiet -c constraints.txt -e '.[train,report,persona]'
	@touch .venv/.setup $@

.venv/.setup-dev: pyproject.toml constraints.txt | .venv/bin/python
	@$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch .venv/.setup .venv/.setup-demo $@
