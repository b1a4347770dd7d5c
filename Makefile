# The two commands to know: make study, make test. Each sets itself up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
STUDY_DIR ?= it_study_out
BIN := $(VENV)/bin

.PHONY: study test lint bench clean

# The miniature study. Another seed: STUDY_DIR=seed1 ARGS='--gin.SEED=1'.
study: $(VENV)/installed
	$(BIN)/it-study study --study_dir=$(STUDY_DIR) $(ARGS)

# All tests that this machine can run; ARGS='tests/prompts_test.py -k limit'.
test: $(VENV)/installed-test
	$(BIN)/python \
	  $(if $(ARGS),,-m slipcover --source=it_study,launch --fail-under=85) \
	  -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/installed-test
	for file in benchmarks/*_bench.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .coverage

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "it_study needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: setup.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed
