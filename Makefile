PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Tests run in so many processes: many of them wait for a server.
WORKERS ?= 3
PLUGINS := $(wildcard plugins/*/pyproject.toml)
EDITABLE := $(patsubst %/pyproject.toml,-e ./%,$(PLUGINS))

# Hundreds of processes would each compile the same modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install quickstart test test-installs lint bench docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile $(PLUGINS)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (about 2.5 GB, a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade setuptools wheel
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation -e '.[dev]' $(EDITABLE)
	@touch $(STAMP)

quickstart: install
	@$(BIN)/hub quickstart $(ARGS)

lint: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# In the order of the folders: by number of tests, files with one long test would come last, and alone.
test: lint
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not installs' $(ARGS)

# Those that install distributions by pip or uv into environments of their own. They need minutes, and an index.
test-installs: install
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m installs $(ARGS)

bench: install
	@$(BIN)/python -m benchmarks.serve
	@$(BIN)/python -m benchmarks.train --quick

# The site of docs/; `make test` runs the tests of the pages, and builds it, too.
docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
