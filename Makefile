# Each target sets itself up from a fresh clone; a second run installs nothing.
# Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

CODE := src tests tools docs benchmarks

.PHONY: demo test test-all test-lowest release-check steel fuzz mutants contract check format stubs bench bench-peers docs clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo       train on bags of digits, compare methods, write smalti-demo/report.html"
	@echo "make test       the quick tests"
	@echo "make test-all   all tests: the quick ones, then the slow ones and those of types"
	@echo "make test-lowest   the quick tests with the lowest versions that are allowed, in .lowest"
	@echo "make steel      fits, comparisons and extractions killed at random instants, and gone on with"
	@echo "make fuzz       30,000 damaged files through all readers (five minutes)"
	@echo "make mutants    faults planted in the source, and which of them no quick test sees (an hour)"
	@echo "make contract METHOD=abmil   what every method must keep, check by check, for one method"
	@echo "make check      ruff, format and mypy"
	@echo "make format     let ruff mend what it can, write the stubs"
	@echo "make stubs      the lists of methods that type checkers read"
	@echo "make bench      speed and memory beside other packages, one table (25 minutes)"
	@echo "make bench-peers   those packages, in .bench; without it their rows say so"
	@echo "make docs       the documentation, docs/_build/html/index.html"
	@echo "make release-check   wheel and sdist, and both used in an empty environment; TAG=v0.1.0 for a release"
	@echo "make clean      remove what these made, $(VENV) included"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "smalti needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# One stamp per extra: installed anew only when the list of packages changes. Each brings the base.
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[$*]"
	@touch $@ $(VENV)/.base

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

demo: $(VENV)/.base
	$(BIN)/smalti demo --out smalti-demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# the tests of types need mypy
test-all: test $(VENV)/.check
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# an environment of its own: base packages at the lowest that pyproject.toml allows, the rest as fits
test-lowest: .lowest/.made
	.lowest/bin/python -m pytest -n 2 --dist worksteal -m "not slow"
.lowest/.made: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .lowest
	.lowest/bin/python -m pip install -q --disable-pip-version-check -c constraints-lowest.txt -e ".[test]"
	@touch $@

# KILLS of each of eight kinds of work, PAIRS of fits on one checkpoint, every step of a write (of
# the 506 of a .zarr test-all takes 40); another SEED kills elsewhere
KILLS ?= 8
PAIRS ?= 50
SEED ?= 0
steel: $(VENV)/.test
	SMALTI_STEEL_KILLS=$(KILLS) SMALTI_STEEL_PAIRS=$(PAIRS) SMALTI_STEEL_SEED=$(SEED) SMALTI_STEEL_STEPS=1000 \
	  $(BIN)/python -m pytest -s tests/steel

# damaged files through all readers, and what became of them by format; FUZZ=3000 for fewer
FUZZ ?= 30000
fuzz: $(VENV)/.test
	$(BIN)/python tests/fuzz $(FUZZ)

# again with ARGS=--again where tests were written since, ARGS=--slow for the slow tests
mutants: $(VENV)/.test $(VENV)/.mutants
	$(BIN)/python tools/mutants.py $(ARGS)

# the bracket, so that METHOD=ae is not also dae and sae
contract: $(VENV)/.test
	@test -n "$(METHOD)" || { echo "say which method: make contract METHOD=abmil"; exit 2; }
	@$(BIN)/python -m pytest tests/contract -vv -k "[$(METHOD)-check_" || { rc=$$?; \
	  test $$rc -ne 5 || echo "no method is called $(METHOD): see $(BIN)/smalti methods"; exit $$rc; }

check: $(VENV)/.test $(VENV)/.check
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: $(VENV)/.check stubs
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

stubs: $(VENV)/.base
	$(BIN)/python tools/stubs.py

# build/bench.json keeps what was measured; ROWS="mixmil ridge" for some rows, ARGS=--growth
bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench.py $(ROWS) $(ARGS)

# the peers' own environment; mixmil compiles an extension, some minutes
PEERS := torch torchvision torchmil==1.0.2 scikit-learn muon scanpy mofapy2 scvi-tools timm
bench-peers: .bench/.made
.bench/.made: constraints.txt Makefile
	$(PYTHON) -m venv .bench
	.bench/bin/python -m pip install -q -c constraints.txt setuptools wheel $(PEERS)
	.bench/bin/python -m pip install -q -c constraints.txt --no-build-isolation mixmil==0.1.2
	@touch $@

release-check: $(VENV)/.release
	$(BIN)/python tools/release.py --tag "$(TAG)"

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) .bench .lowest dist mutants smalti-demo docs/_build docs/methods docs/reference docs/verbs .pytest_cache .mypy_cache .ruff_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
