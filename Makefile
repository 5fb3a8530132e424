# `make demo` and `make test` each do everything from a fresh clone: virtual environment, install, run.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYENV_ROOT ?= $(HOME)/.pyenv
# The newest of each other version that is on the path or that pyenv keeps.
other_python = $(shell python$(1) -c 'import sys; print(sys.executable)' 2>/dev/null || \
	ls $(PYENV_ROOT)/versions/$(1).*/bin/python 2>/dev/null | tail -n 1)
OTHER_PYTHONS ?= $(foreach version,3.10 3.12 3.13,$(call other_python,$(version)))

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
	$(BIN)/mypy tests/typing
	$(BIN)/lint-imports
	$(BIN)/codespell lwa_core lwa_plugins docs examples recipes *.md
	$(BIN)/validate-pyproject pyproject.toml

# The half of the tests that needs no torch, on the other interpreters that are installed here.
test-light:
	@for python in $(OTHER_PYTHONS); do \
		venv=$(VENV)-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		test -x $$venv/bin/pytest || { $$python -m venv $$venv && $$venv/bin/pip install -q -U pip && \
			$$venv/bin/pip install -q --group light && $$venv/bin/pip install -q --no-deps -e .; } || exit 1; \
		echo "== $$($$python --version), without torch"; $$venv/bin/python -m pytest -n 2 -q || exit 1; \
	done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints-dev.txt
	$(BIN)/pip install -q -c constraints-dev.txt -e .
	touch $@

$(VENV)/.tests-installed: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints-dev.txt --group test --group export --group references --group checks
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-* build *.egg-info
