# The main targets are `make study`, `make smollm2` and `make test`. Each sets
# itself up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
STUDY_DIR ?= it_study_out
# Processes that share the study; more are faster on more processors.
WORKERS ?= 2
BIN := $(VENV)/bin
PARALLEL := -n 2 --dist loadfile

.PHONY: study smollm2 test lint bench clean

# Runs the miniature study. Another seed: STUDY_DIR=seed1 ARGS='--gin.SEED=1'.
study: $(VENV)/installed
	$(BIN)/it-study study --study_dir=$(STUDY_DIR) --workers=$(WORKERS) $(ARGS)

# Tests a real model, SmolLM2-135M-Instruct, which it downloads: free answers, and
# labels ranked by their likelihood. More: ARGS='--gin.INSTANCES_PER_TEST_TASK=10'.
smollm2: $(VENV)/installed
	$(BIN)/it-study fetch_model smollm2-135m-instruct
	$(BIN)/it-study study --gin_file=studies/smollm2.gin \
	  --study_dir=smollm2_out/free $(ARGS)
	$(BIN)/it-study study --gin_file=studies/smollm2.gin \
	  --study_dir=smollm2_out/ranked --gin.DECODING=ranked $(ARGS)

# Runs all tests that this machine can run; ARGS='tests/instructions/prompts_test.py -k limit'.
test: $(VENV)/installed-test
ifdef ARGS
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)
else
	$(BIN)/python -m slipcover --source=it_study,launch --json \
	  --out=.coverage.json -m pytest $(PARALLEL)
	$(BIN)/python -m slipcover --merge .coverage.json --out=.coverage.json \
	  --fail-under=85
endif

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-test
	for file in benchmarks/*_bench.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage.json

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
