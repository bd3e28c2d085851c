# make demo   train, kill, resume and compare, with the light base alone
# make test   the tests; make lint, make docs and make test are what CI runs

PYTHON ?= python3
VENV := .venv
DEMO_VENV := .venv-demo
BIN := $(VENV)/bin
SOURCES := pyproject.toml hatch_build.py $(wildcard src/garage/kernels/*.[ch])

.PHONY: setup demo test test-long coverage lint docs bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev --group docs --group frameworks --group notebooks --group peers --group worlds
	touch $@

$(DEMO_VENV)/.ready: $(SOURCES)
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DEMO_VENV)/bin/python -m pip install --quiet --editable .
	touch $@

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/python examples/kill_and_resume.py

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long"

# Stopped, it goes on where it was; `rm .pytest_cache/passed.txt` begins anew.
test-long: setup
	$(BIN)/python -m pytest -n 2 --go-on

coverage: setup
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest -m "not long"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: setup
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -d build/doctrees docs build/site
	@echo "The site is in build/site/index.html"

bench: setup
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python benchmarks/epoch.py
	$(BIN)/python benchmarks/snapshot.py
	$(BIN)/python benchmarks/snapshot_peers.py
	$(BIN)/python benchmarks/snapshot_epochs.py
	$(BIN)/python benchmarks/snapshot_many.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/mujoco.py
	$(BIN)/python benchmarks/learning.py

clean:
	rm -rf build $(VENV) $(DEMO_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
