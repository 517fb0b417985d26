# One command sets up and does the main job, another sets up and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check serve docs bench clean
.DEFAULT_GOAL := run

run: $(VENV)/.base        ## set up, then capture, train, evaluate and report on the embedded default
	$(BIN)/clinlens run configs/quickstart.yaml

test: $(VENV)/.dev        ## set up, then run the tests
	$(BIN)/python -m pytest

check: $(VENV)/.dev       ## format, lint, types, import directions, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m clinlens.settings_page --check

serve: $(VENV)/.base      ## show the quickstart's report in the browser
	$(BIN)/clinlens serve runs/quickstart

docs: $(VENV)/.base       ## write docs/settings.md and configs/schema.json from the code
	$(BIN)/python -m clinlens.settings_page

bench: $(VENV)/.dev       ## the quick form of every benchmark
	for file in benchmarks/*.py; do $(BIN)/python $$file --quick || exit 1; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old, expected Python 3.11 or newer. Run: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.base

clean:                    ## remove the environment; runs stay
	rm -rf $(VENV)
