# make run   sets everything up and starts a daemon on loopback to play with
# make test  runs every check and test
# make bench  measures how fast it is, beside other servers (ARGS="--rounds 1 W1", ARGS=--write)
# make scale  measures it before a million queued messages and with ten thousand connections
# make faults  kills it 20 times at every fail point and 1000 times anywhere, takes its power 50 times
# make soak  runs it for two hours with kills and a clock that jumps (ARGS="--minutes 15")
# make audit  looks up the pins in a database of known holes
# make fuzz  gives every parser five minutes of inputs that nobody has thought of

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
# Tests wait for daemons and peers more than they compute, so there is one more than cores.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)

.PHONY: run test check audit bench scale faults soak fuzz format lock clean

run: $(VENV)/.run
	@$(BIN)/gatewayd localserve $(ARGS)

test: $(VENV)/.dev check
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

audit: $(VENV)/.dev
	$(BIN)/python -m tests.audit

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(ARGS)

scale: $(VENV)/.dev
	$(BIN)/python -m tests.bench.scale $(ARGS)
	$(BIN)/python -m tests.bench.idle
	$(BIN)/python -m tests.bench.lag

faults: $(VENV)/.dev
	GATEWAYD_KILLS=20 GATEWAYD_KILLS_RANDOM=1000 GATEWAYD_LOSSES=50 $(BIN)/pytest -n auto \
	  tests/system/test_faults.py tests/system/test_power_loss.py \
	  tests/system/test_random_kills.py $(PYTEST_ARGS)

soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(ARGS)

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz.run $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Pins with hashes and without index addresses, for every platform and Python from 3.11.
lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --extra postgres --extra uvloop \
	  pyproject.toml -o requirements/run.txt
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --extra postgres --extra uvloop --group dev -c requirements/run.txt \
	  pyproject.toml -o requirements/dev.txt
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  -c requirements/dev.txt requirements/build.in -o requirements/build.txt

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gatewayd needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# requirements/dev.txt holds everything of requirements/run.txt at the same versions.
$(VENV)/.run: $(VENV)/bin/python requirements/run.txt requirements/build.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
