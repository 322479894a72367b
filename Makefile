# One command each. The virtual environment is made on first use and made again when pyproject.toml changes.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SEED   ?= 0
OUT    ?= runs/day

.DEFAULT_GOAL := help
.PHONY: help run test lint bench docs nightly clean

help:  ## show the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# One stamp for each set of extras, so that `make run` installs no more than the main job needs.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[city,report,calendar]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[city,report,calendar,test]'
	@touch $@ $(VENV)/.run

$(VENV)/.lint: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[city,report,calendar,test,lint]'
	@touch $@ $(VENV)/.test $(VENV)/.run

run: $(VENV)/.run  ## compute one delivery day of a real urban district and write its report to runs/day
	$(BIN)/flexcore run --seed $(SEED) --out $(OUT)

test: $(VENV)/.test  ## run the tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(VENV)/.lint  ## check style, types, spelling, the import contract and the rule keys
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos
	$(BIN)/python -m tests.lint_rules

$(VENV)/.bench: pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[city,report,calendar,test,bench]'
	@touch $@ $(VENV)/.test $(VENV)/.run

bench: $(VENV)/.bench  ## time the engine beside its peers and write docs/reference/benchmarks.md
	$(BIN)/python -m benchmarks --page --json .benchmarks/figures.json

docs: $(VENV)/.test  ## write the generated reference pages and run every code block of the documentation
	$(BIN)/python -m docs.generate
	$(BIN)/python -m pytest -q tests/test_docs.py

nightly: $(VENV)/.test  ## longer campaigns: thousands of draws, kernels with bounds checks and as plain Python
	$(BIN)/python -m pytest -q -n 2 --dist worksteal --timeout 1200 -m nightly -rP
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$$(mktemp -d) $(BIN)/python -m pytest -q -n 2 --dist worksteal
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --timeout 1200 tests/register tests/metering tests/settlement tests/market/test_slots.py tests/market/test_awards.py tests/market/test_recovery.py

clean:  ## remove the environment, caches and runs
	rm -rf $(VENV) build dist runs *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
