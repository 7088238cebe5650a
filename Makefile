# The verbs: demo, test, check, oldest, bench. Each sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test check oldest bench format clean

help:
	@echo "make demo    read the bundled examples and draw a picture of it (start here)"
	@echo "make test    run all tests, with coverage"
	@echo "make check   lint and type-check"
	@echo "make oldest  test reading with the oldest versions that pyproject.toml allows"
	@echo "make bench   run the benchmarks"
	@echo "make format  format the code"
	@echo "make clean   remove .venv and caches"

demo: $(VENV)/.demo
	@$(BIN)/crnn-captcha demo
	@echo "Here the command is $(BIN)/crnn-captcha; to train, install the extra: see README.md."

test: $(VENV)/.dev
	@echo "Running all tests, on up to four cores; the slowest train small networks, so this takes some minutes."
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal \
		--cov --cov-report=term --cov-fail-under=90 --durations=5

check: $(VENV)/.dev
	@echo "Linting, then checking types."
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Of ONNX Runtime above all: a bundle is read by whatever is installed where it is read.
READING := test_bundle test_decoding test_images test_jobs test_preprocessing test_recognizer \
	cli/test_demo cli/test_read
oldest: $(OLDEST)/.done
	@echo "Testing reading with $$($(OLDEST)/bin/python -m pip freeze | grep -iE '^(numpy|onnxruntime|opencv)' | tr '\n' ' ')"
	@$(OLDEST)/bin/python -m pytest --quiet -p no:cacheprovider $(READING:%=tests/%.py)

bench: $(VENV)/.bench
	@$(BIN)/python benchmarks/run.py $(ARGS)

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

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

$(OLDEST)/.done: pyproject.toml
	@echo "Installing the oldest versions of what reading needs into $(OLDEST)."
	@$(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
		pytest hypothesis 'onnx==1.18.*' $$($(PYTHON) -c 'import tomllib; \
		needs = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
		print(*(need.replace(">=", "==") + ".*" for need in needs))')
	@touch $@

$(BIN)/python:
	@echo "Making a virtual environment in $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
