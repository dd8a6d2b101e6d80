# Two commands for newcomers: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q

.PHONY: bench bench-idle bench-kills bench-load bench-peers demo test check format lint types floors docs lock clean

demo: $(VENV)/.installed  ## Start everything on this machine with simulators, and send four orders
	$(BIN)/claw demo

test: $(VENV)/.developer  ## Run all tests; Postgres and the other services come from PyPI and are started by the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: format lint types floors test  ## What CI runs

format: $(VENV)/.developer
	$(BIN)/ruff format --check .

lint: $(VENV)/.developer
	$(BIN)/ruff check .

types: $(VENV)/.developer
	$(BIN)/mypy

floors: $(VENV)/.developer
	$(BIN)/lint-imports

docs: $(VENV)/.developer  ## Write the generated references anew
	$(BIN)/python docs/generate.py

$(VENV)/.installed: pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 demo"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), about a minute the first time"
	$(PIP) install -c requirements-dev.lock -e .
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP) install -r requirements-dev.lock
	@touch $@

lock:  ## Choose the newest versions within the ranges and write them down
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/pip --disable-pip-version-check -q install . \
	  $$($(PYTHON) -c 'import tomllib; print(*(f"\"{d}\"" for d in tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"]))' | xargs -n1 printf '%s ')
	.lock/bin/pip freeze --exclude openclaw-dagster > requirements-dev.lock
	rm -rf .lock

clean:
	rm -rf $(VENV) .venv-peers .lock .claw build *.egg-info

bench: $(VENV)/.developer  ## Measure this product beside stock Dagster, and how it grows, and write docs/benchmarks.md
	$(BIN)/python -m bench.run --write --hosts
	$(BIN)/python -m bench.growth --write

bench-peers: $(VENV)/.developer  ## The same with DBOS Transact and Prefect, each in a virtual environment of its own
	$(PYTHON) -m venv .venv-peers && .venv-peers/bin/pip --disable-pip-version-check -q install -r bench/peers.txt
	$(BIN)/python -m bench.run --write --hosts --peers .venv-peers/bin/python

bench-kills: $(VENV)/.developer  ## kill -9 of each process during bursts; what the outside counts
	$(BIN)/python -m bench.kills

bench-load: $(VENV)/.developer  ## 20,000 events with a tenfold burst: what is lost, what memory does
	$(BIN)/python -m bench.load

bench-idle: $(VENV)/.developer  ## 50 systems and nothing to do: what each process holds and uses, at rest and after a burst
	$(BIN)/python -m bench.idle
