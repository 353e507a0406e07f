# make demo: set up, render a small captioned world, mine it, show the result. make test: set up, run lint, types and tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := out/demo
STAMP := $(VENV)/.installed

.PHONY: demo test lint types clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	test -f $(DEMO)/world/captions.json || $(BIN)/maskmine world --out $(DEMO)/world --images 48 --seed 7
	$(BIN)/python -m benchmarks.tiny_clip $(DEMO)/clip
	rm -rf $(DEMO)/mined
	$(BIN)/maskmine build manifests/build/demo.yaml --out $(DEMO)/mined
	$(BIN)/maskmine verify $(DEMO)/mined
	$(BIN)/maskmine show $(DEMO)/mined

test: lint types
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
