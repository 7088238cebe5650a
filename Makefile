# The verbs: demo, test, check, bench. Each sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test check bench format clean

help:
	@echo "make demo    read the bundled examples and draw a picture of it (start here)"
	@echo "make test    run all tests, with coverage"
	@echo "make check   lint and type-check"
	@echo "make bench   run the benchmarks"
	@echo "make format  format the code"
	@echo "make clean   remove .venv and caches"

demo: $(VENV)/.demo
	@$(BIN)/crnn-captcha demo

test: $(VENV)/.dev
	@echo "Running all tests; the slowest train small networks, so this takes some minutes."
	@$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90 --durations=5

check: $(VENV)/.dev
	@echo "Linting, then checking types."
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.bench
	@$(BIN)/python benchmarks/run.py $(ARGS)

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing crnn-captcha for reading into $(VENV): about 400 MB, under a minute."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing crnn-captcha for training and tests into $(VENV): almost 3 GB, some minutes."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing crnn-captcha for benchmarks, with PyTorch, into $(VENV): some minutes."
	@$(PIP) --editable '.[bench]'
	@touch $@ $(VENV)/.demo

$(BIN)/python:
	@echo "Making a virtual environment in $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
