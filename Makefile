# make demo: a recording to text on the simulated processor      make lint
# make test: the tests, in minutes      make test-slow: the long regressions beside them
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WAV ?= $(firstword $(sort $(wildcard models/weights/samples/*.wav)))
PYTEST_ARGS ?= -n 2
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-slow lint check-tools clean

demo: $(VENV)/.demo
	@test -n "$(WAV)" || { echo "no recording in models/weights/samples: name one, 'make demo WAV=FILE.wav'" >&2; exit 2; }
	@$(BIN)/ossicle transcribe $(WAV) --engine rtl --optimize traffic

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports

check-tools:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "ossicle needs Python 3.11 or newer: install it, or name it with 'make PYTHON=/path/to/python3.11 ...'" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "ossicle needs Python's venv: install it, e.g. 'apt-get install python3-venv'" >&2; exit 2; }
	@command -v g++ >/dev/null || \
	  { echo "ossicle needs g++ to build the simulator: install it, e.g. 'apt-get install g++'" >&2; exit 2; }

$(BIN)/python: | check-tools
	@echo "making $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml setup.py | check-tools $(BIN)/python
	@echo "installing ossicle into $(VENV)" >&2
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml setup.py | check-tools $(BIN)/python
	@echo "installing ossicle and what its tests need into $(VENV)" >&2
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
