# `make demo` and `make test` each do everything from a fresh clone: virtual environment, install, run.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OTHER_PYTHONS ?= python3.10 python3.12 python3.13

.PHONY: demo test test-slow test-light check clean

demo: $(VENV)/.installed
	$(BIN)/lwa run recipes/quickstart.toml

test: $(VENV)/.tests-installed check
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.tests-installed
	$(BIN)/python -m pytest -n 2 -m slow

check: $(VENV)/.tests-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell lwa_core lwa_plugins tests docs examples recipes *.md
	$(BIN)/validate-pyproject pyproject.toml

# The half of the tests that needs no torch, on the other interpreters that are installed here.
test-light:
	@for python in $(OTHER_PYTHONS); do \
		$$python --version >/dev/null 2>&1 || { echo "$$python is not installed: left out"; continue; }; \
		test -x $(VENV)-$$python/bin/pytest || { \
			$$python -m venv $(VENV)-$$python && \
			$(VENV)-$$python/bin/pip install -q -U pip && \
			$(VENV)-$$python/bin/pip install -q --group light && \
			$(VENV)-$$python/bin/pip install -q --no-deps -e . ; } || exit 1; \
		echo "== $$python"; $(VENV)-$$python/bin/python -m pytest -n 2 -q || exit 1; \
	done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints-dev.txt
	$(BIN)/pip install -q -c constraints-dev.txt -e .
	touch $@

$(VENV)/.tests-installed: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints-dev.txt --group test --group checks
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-* build *.egg-info
