# Every target sets up what it needs in .venv; nothing has to be installed first but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo demo-check test lint bench clean

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

.venv/.test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@ .venv/.run

demo: .venv/.run
	$(BIN)/logout-sidecar demo

demo-check: .venv/.run
	$(BIN)/logout-sidecar demo --check

test: .venv/.test
	$(BIN)/python -m pytest

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.test
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf .venv
