# `make quickstart` and `make test` need Python 3.11 or newer with pip, nothing else.

PYTHON ?= python3
VENV ?= .venv
# More arguments for pytest, such as ARGS='-m "not slow"', or for the benchmark.
ARGS ?=

BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal

.DELETE_ON_ERROR:
.PHONY: help quickstart test coverage benchmark docs lint format types dist clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

quickstart: $(VENV)/.installed-plots ## train, retrieve and print mAP on an embedded data set
	$(BIN)/python examples/plot_quickstart.py

test: $(VENV)/.installed-test ## run the whole test suite on all cores
	$(PYTEST) $(ARGS)

coverage: $(VENV)/.installed-test ## run the tests, slower, and list lines that none has run
	$(PYTEST) --cov=sklearn_cmr $(ARGS)

benchmark: $(VENV)/.installed-test ## compare the speed with peers; ARGS='--quick train' for less
	$(BIN)/python benchmarks/speed.py $(ARGS)

docs: $(VENV)/.installed-docs ## build the documentation site in docs/_build
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs docs/_build $(ARGS)
	$(BIN)/python docs/check_build.py docs/_build

lint: $(VENV)/.installed-dev ## check style, formatting and spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell

format: $(VENV)/.installed-dev ## mend style and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.installed-dev ## check types
	$(BIN)/mypy

dist: $(VENV)/.installed-dist ## build and check what a release uploads, in dist
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

clean: ## remove the virtual environment and everything made
	rm -rf $(VENV) build dist *.egg-info .coverage htmlcov
	rm -rf docs/_build docs/auto_examples docs/auto_guide docs/generated docs/sg_execution_times.rst
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find sklearn_cmr tests examples -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each extra of pyproject.toml: installed again only when a list changes.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): the package and its extra '$*'. The first time takes minutes: on Linux,"
	@echo "torch with CUDA has gigabytes. README.md says how to take its CPU build."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$*]'
	@touch $@
