# Everything runs in .venv. PYTHON chooses the interpreter (3.11 or newer), PIP_ARGS goes to pip.
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

.PHONY: setup demo notebooks test test-slow test-gpu lint check audit bench bench-long bench-tables picture prove
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
	$(BIN)/python -m pytest -rs -k cuda --device cuda tests/attention_from_scratch tests/attention_with_pytorch \
		tests/positional_encoding tests/transformer_encoder

lint: setup
	$(BIN)/ruff check
	$(BIN)/mypy

check: lint test

# What the code may not do, then known holes in the packages that grading was verified with; pip-audit asks PyPI.
audit: setup .venv/audit
	$(BIN)/ruff check --select S
	$(BIN)/python -m pytest tests/engine/test_audit.py
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

.venv/audit:
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet pip-audit==2.10.1

# Each prints what is promised, what was measured and whether it holds, and leaves a record.
bench: setup .venv/otter
	@failed=0; for what in suites compare "scale classes"; do $(BIN)/python -m benchmarks.$$what || failed=1; done; exit $$failed

bench-long: setup
	$(BIN)/python -m benchmarks.scale soak --students 10000

bench-tables: setup
	$(BIN)/python -m benchmarks.scale plots
	$(BIN)/python -m benchmarks.document

# A contender, apart from everything else: its packages are not ours.
.venv/otter: setup
	$(BIN)/python -m pip install --quiet --no-deps --target $@ -c constraints.txt $(PIP_ARGS) otter-grader==7.0.0 \
		dill fica ipylab pandas python-frontmatter python-on-whales wrapt

prove: setup
	$(BIN)/autograder prove

# README's picture, of the demo's class; needs chromium and chromedriver.
picture: demo
	$(BIN)/python -m benchmarks.picture
