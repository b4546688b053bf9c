# Each target sets itself up from a fresh clone; a second run installs nothing.
# Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all check format bench docs clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo    train on bags of digits, compare methods, write smalti-demo/report.html"
	@echo "make test    the tests that take seconds (make test-all: also the slow ones)"
	@echo "make check   ruff and mypy (make format: let ruff mend what it can)"
	@echo "make bench   speed and memory beside a peer"
	@echo "make docs    the documentation, docs/_build/html/index.html"
	@echo "make clean   remove what these made, $(VENV) included"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "smalti needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# One stamp per extra: installed anew only when the list of packages changes.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[$*]"
	@touch $@

demo: $(VENV)/.test
	$(BIN)/smalti demo --out smalti-demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/.test
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.test $(VENV)/.check
	$(BIN)/ruff check src tests docs benchmarks
	$(BIN)/ruff format --check src tests docs benchmarks
	$(BIN)/mypy

format: $(VENV)/.check
	$(BIN)/ruff check --fix src tests docs benchmarks
	$(BIN)/ruff format src tests docs benchmarks

bench: $(VENV)/.test $(VENV)/.bench
	$(BIN)/python benchmarks/speed.py

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) smalti-demo docs/_build docs/methods docs/api .pytest_cache .mypy_cache .ruff_cache
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
