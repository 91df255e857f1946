# Everything runs in .venv. PYTHON chooses the interpreter (3.11 or newer), PIP_ARGS goes to pip.
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

.PHONY: setup demo notebooks test test-slow test-gpu lint check bench prove
.DELETE_ON_ERROR:

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@echo "installing into .venv: some minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt $(PIP_ARGS) --editable '.[dev]'
	@command -v bwrap >/dev/null || .ci/bubblewrap
	@touch $@

demo: setup
	@$(BIN)/autograder demo

notebooks: setup
	$(BIN)/autograder build

test: setup
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

test-gpu: setup
	$(BIN)/python -m pytest -rs -m gpu
	$(BIN)/python -m pytest -rs --device cuda tests/attention_from_scratch tests/attention_with_pytorch \
		tests/positional_encoding tests/transformer_encoder

lint: setup
	$(BIN)/ruff check
	$(BIN)/mypy

check: lint test

bench: setup .venv/otter
	$(BIN)/python -m benchmarks.suites
	$(BIN)/python -m benchmarks.compare

# A contender, apart from everything else: its packages are not ours.
.venv/otter: setup
	$(BIN)/python -m pip install --quiet --no-deps --target $@ -c constraints.txt $(PIP_ARGS) otter-grader==7.0.0 \
		dill fica ipylab pandas python-frontmatter python-on-whales wrapt

prove: setup
	$(BIN)/autograder prove
