# The two commands of a fresh machine are `make demo` and `make test`; each makes its own environment.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test soak bench check format lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Rebuilt when the dependencies change; the newest versions that were tested together are in constraints.txt.
$(VENV)/.ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.ready  ## everything at work, on a temporary database and a local catcher, in ten seconds
	@$(BIN)/outbox demo

# Most tests wait for a server, a database or a process, so there are more workers than cores. What Python compiles is
# kept: under PYTHONDONTWRITEBYTECODE each of the many processes would do it again.
test: $(VENV)/.ready  ## all tests, on SQLite and on a real PostgreSQL
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 4

EMAILS ?= 20000
KILLS ?= 200
RESTARTS ?= 30
STOPS ?= 30
MINUTES ?= 9
SEED ?= 1
DATABASE ?= both
soak: $(VENV)/.ready  ## break everything for ten minutes and judge (EMAILS= KILLS= RESTARTS= STOPS= MINUTES= SEED=)
	@$(BIN)/python -m soak --emails $(EMAILS) --kills $(KILLS) --restarts $(RESTARTS) --stops $(STOPS) \
		--minutes $(MINUTES) --seed $(SEED) --database $(DATABASE) $(SOAK)
	@MODEL_EXAMPLES=150 $(BIN)/python -m pytest -q -n 2 --timeout 1800 tests/lab/test_model.py
	@HOSTILE_ROUNDS=25 $(BIN)/python -m pytest -q -n 2 --timeout 1800 tests/poller/test_hostile_rows.py -k every_hostile_row

$(VENV)/.bench: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench: $(VENV)/.bench  ## measure all targets side by side, in twenty minutes, and write docs/benchmarks.md (BENCH=)
	@$(BIN)/python -m benchmarks --publish docs $(BENCH)

check: $(VENV)/.ready  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready  ## write the code as `check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.ready  ## upgrade all dependencies and write down what was tested
	@$(BIN)/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[bench]'
	@$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools > constraints.txt

clean:  ## remove the environment and all caches
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
