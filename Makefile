# make demo   a simulated fleet of 24 unequal devices, and a report to look at
# make test   lint, types and tests
# make bench  the engine against plain PyTorch: speed and memory, measured side by side
# All create their virtual environment first. PYTHON and VENV may be given.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := tinytrain_core client server simulations tests benchmarks

.PHONY: demo test lint types unit unit-rest unit-fleet format bench clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.sim
	$(BIN)/tinytrain-sim demo

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.dev
	$(BIN)/mypy

# The fleet of real processes mostly waits, so the rest is tested beside it.
unit: $(VENV)/.dev
	$(MAKE) --no-print-directory -j2 --output-sync=target unit-rest unit-fleet

unit-rest: $(VENV)/.dev
	$(BIN)/pytest --ignore tests/fleet

unit-fleet: $(VENV)/.dev
	$(BIN)/pytest tests/fleet

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

$(VENV)/.%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
