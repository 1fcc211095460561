# make run: a gateway on 127.0.0.1:8787.   make test: every test.   make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help install run test test-fast check audit deploy-tools fuzz docs format lock \
  golden faults fault-matrix mutations cluster-test clean \
  bench bench-quick bench-smoke bench-soak storm \
  bench-translate bench-memory bench-blobs bench-cache bench-images bench-jobs

help: ## Show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' \
	  $(MAKEFILE_LIST)

##@ Set up and run

install: $(VENV)/.installed ## Install the gateway into .venv

PORT ?= 8787
run: install ## Start the gateway with default settings (PORT=8787)
	@$(BIN)/easel serve --port $(PORT)

clean: ## Remove everything that was installed or built; state_dir stays
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

##@ Test

# Many tests wait: four processes keep two cores busy. tests/conftest.py orders the modules.
# Many start Python: its bytecode is cached in .venv, also where the environment forbids bytecode.
PYTEST = env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/pycache \
  $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.tested ## Test the adapters and the in-process gateway (about a minute)
	@$(PYTEST) -m 'not process' --ignore=tests/contract --ignore=tests/deploy --ignore=tests/faults --ignore=tests/hostile --ignore=tests/system

test: $(VENV)/.tested ## Run every test (under 4 minutes)
	@$(PYTEST)

check: $(VENV)/.tested audit ## Format check, lint, types, tests, known vulnerabilities
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(PYTEST)

golden: $(VENV)/.tested ## Record again what clients see (tests/golden); review the diff
	@EASEL_RECORD=1 $(BIN)/python -m pytest --quiet tests/golden/test_golden.py

cluster-test: $(VENV)/.tested ## Break one part after the other of a three-node cluster under load (3 minutes)
	@$(BIN)/python -m tests.cluster

faults: $(VENV)/.tested ## Cause every kind of fault and count what is paid; writes docs/reliability.md
	@$(BIN)/python -m bench.faults

fault-matrix: $(VENV)/.tested ## Run every provider fault in every mode; writes docs/reliability.md
	@$(BIN)/python -m tests.faults

mutations: $(VENV)/.tested ## Remove each defence of docs/security.md and check that its tests notice
	@$(BIN)/python -m tests.hostile.mutations

fuzz: $(VENV)/.tested ## Fuzz every parser of untrusted input with atheris (MINUTES=20)
	@$(PIP) install --require-hashes -r requirements/fuzz.txt || echo "fuzz: without atheris, which does not install here"
	@$(BIN)/python -m tests.fuzz $$(($(MINUTES) * 60))

##@ Code and docs

format: $(VENV)/.tested ## Format the code and fix what lint can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: install ## Write the generated parts of the docs
	@$(BIN)/python -m docs.generate

lock: $(VENV)/.tested ## Pin all dependencies again, with hashes
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

audit: $(VENV)/.tested ## Check pinned packages for known vulnerabilities (needs network)
	@test -x $(VENV)/audit/bin/pip-audit || { $(BIN)/python -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install 'pip-audit>=2.9,<3'; \
	} >/dev/null 2>&1 || true
	@$(BIN)/python requirements/audit.py $(VENV)/audit/bin/pip-audit

deploy-tools: $(VENV)/.tested ## Install the linters and schemas for deploy/
	@$(PIP) install --require-hashes -r requirements/deploy.txt

##@ Measure

COMPARE = PYTHONPATH=bench $(BIN)/python -m compare
MINUTES ?= 20

bench: install ## Compare Easel with other gateways (25 minutes); writes bench/results.md
	@$(COMPARE) full

bench-quick: install ## Compare Easel with a minimal relay (2 minutes)
	@$(COMPARE) quick

bench-smoke: install ## Check that the comparison works (40 seconds)
	@$(COMPARE) smoke

bench-soak: install ## Mixed load for MINUTES=20; watches memory and open files
	@$(COMPARE) soak $(MINUTES)

bench-translate: install ## CPU of translating a call, for every provider
	@$(BIN)/python -m bench.translate

bench-memory: install ## Memory of relaying a 6 MB response
	@$(BIN)/python bench/relay_memory.py

bench-images: install ## Memory of a 64 MB image in another form
	@$(BIN)/python bench/image_memory.py

bench-blobs: install ## Memory of storing and serving a 64 MB image
	@$(BIN)/python bench/blob_memory.py

bench-jobs: install ## Memory of 500 uncollected images
	@$(BIN)/python bench/jobs_memory.py

bench-cache: install ## CPU of a cache hit
	@$(BIN)/python bench/cache_hits.py

storm: install ## Flood real gateways in ten ways beside an honest caller (5 minutes); writes docs/reliability.md
	@PYTHONPATH=bench $(BIN)/python -m storm

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
