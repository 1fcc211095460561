# make run: a gateway on 127.0.0.1:8787.   make test: every test.   make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help install run test check audit deploy-tools fuzz docs format lock \
  golden faults fault-matrix mutations cluster-test clean \
  bench bench-quick bench-smoke bench-soak storm \
  bench-translate bench-memory bench-blobs bench-cache bench-pictures bench-jobs

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

install: $(VENV)/.installed ## Make .venv with the gateway in it

run: install ## Start the gateway on embedded defaults
	@$(BIN)/easel serve

# Most tests wait for something: two processes share them.
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test: $(VENV)/.tested ## Run every test
	@$(PYTEST)

check: $(VENV)/.tested audit ## Format, lint, types, tests, known vulnerabilities
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(PYTEST)

deploy-tools: $(VENV)/.tested ## Install the linters and schemas that hold up deploy/
	@$(PIP) install --require-hashes -r requirements/deploy.txt

audit: $(VENV)/.tested ## Hold what is pinned against known vulnerabilities, if there is a network
	@test -x $(VENV)/audit/bin/pip-audit || { $(BIN)/python -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install 'pip-audit>=2.9,<3'; \
	} >/dev/null 2>&1 || true
	@$(BIN)/python requirements/audit.py $(VENV)/audit/bin/pip-audit

fuzz: $(VENV)/.tested ## Give all that reads a stranger's words random ones for MINUTES=20, with atheris
	@$(PIP) install --require-hashes -r requirements/fuzz.txt || echo "fuzz: without atheris, which does not install here"
	@$(BIN)/python -m tests.fuzz $$(($(MINUTES) * 60))

format: $(VENV)/.tested ## Put the code into the house's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: install ## Write what the docs say of providers, from their tables
	@$(BIN)/python -m docs.generate

COMPARE = PYTHONPATH=bench $(BIN)/python -m compare
MINUTES ?= 20

bench: install ## Compare Easel with other gateways (25 minutes), and write bench/results.md
	@$(COMPARE) full

bench-quick: install ## Compare Easel with a minimal relay (2 minutes)
	@$(COMPARE) quick

bench-smoke: install ## See that the comparison works (40 seconds)
	@$(COMPARE) smoke

bench-soak: install ## Load Easel with everything for MINUTES=20, and watch memory and open files
	@$(COMPARE) soak $(MINUTES)

bench-translate: install ## Measure what translating a call costs, for every provider
	@$(BIN)/python -m bench.translate

bench-memory: install ## Measure what relaying a 6 MB answer adds to memory
	@$(BIN)/python bench/relay_memory.py

bench-blobs: install ## Measure what storing and serving a 64 MB picture adds to memory
	@$(BIN)/python bench/blob_memory.py

bench-jobs: install ## Measure what 500 pictures that nobody waits for add to memory
	@$(BIN)/python bench/jobs_memory.py

bench-cache: install ## Measure what a hit of the cache costs in CPU
	@$(BIN)/python bench/cache_hits.py

bench-pictures: install ## Measure what a 64 MB picture in another form adds to memory
	@$(BIN)/python bench/picture_memory.py

storm: install ## Measure what 2,000 hostile clients do to an honest one, and to memory
	@$(BIN)/python bench/storm.py

faults: $(VENV)/.tested ## Cause every kind of fault, and write what each cost into docs/reliability.md
	@$(BIN)/python -m bench.faults

fault-matrix: $(VENV)/.tested ## Have providers do everything wrong, and write what came into docs/reliability.md
	@$(BIN)/python -m tests.faults

golden: $(VENV)/.tested ## Record again what tests/golden/test_golden.py compares; look at the difference
	@EASEL_RECORD=1 $(BIN)/python -m pytest --quiet tests/golden/test_golden.py

cluster-test: $(VENV)/.tested ## Break one part after the other of a cluster of three nodes under load (3 minutes)
	@$(BIN)/python -m tests.cluster

mutations: $(VENV)/.tested ## Take out each defence of docs/security.md, and see that its tests notice
	@$(BIN)/python -m tests.hostile.mutations

lock: $(VENV)/.tested ## Pin all dependencies anew, with hashes
	@$(PIP) install 'pip-tools>=7.4'
	@$(BIN)/python -m piptools compile --quiet --upgrade --generate-hashes --allow-unsafe \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras \
	  --all-build-deps --extra metrics --extra reload --output-file requirements/run.txt setup.cfg
	@$(BIN)/python -m piptools compile --quiet --upgrade --generate-hashes --allow-unsafe \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras \
	  --all-build-deps --extra test --extra sdks --output-file requirements/test.txt setup.cfg
	@$(BIN)/python -m piptools compile --quiet --upgrade --generate-hashes --allow-unsafe \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras \
	  --all-build-deps --extra gcp --extra metrics --extra otel --extra redis --extra reload \
	  --output-file requirements/image.txt setup.cfg
	@$(BIN)/python -m piptools compile --quiet --upgrade --generate-hashes --allow-unsafe \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras \
	  --constraint requirements/test.txt --output-file requirements/deploy.txt requirements/deploy.in

clean: ## Remove what was installed and made; the state folder stays
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Easel needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "No venv module: on Debian and Ubuntu, apt install python3-venv"; exit 1; }

# What is installed is what requirements/*.txt pins, by hash.
$(VENV)/.installed: $(BIN)/python requirements/run.txt setup.cfg pyproject.toml
	@echo "Installing into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed requirements/test.txt
	@echo "Installing what the tests need ..."
	@$(PIP) install --require-hashes -r requirements/test.txt
	@touch $@
