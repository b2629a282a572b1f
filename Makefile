# Each target sets itself up: a virtual environment in .venv with the pinned packages.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
# The first that really runs: version managers leave names in PATH that start nothing.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c "$(FITS)" 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: demo test check test-large test-weights explore faults bench clean

demo: .venv/ready
	$(BIN)/tlkit demo

test: check
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-large: .venv/ready
	$(BIN)/python -m pytest -q -m large

test-weights: .venv/ready
	$(BIN)/python -m pytest -q -m weights

# Property tests draw new examples here; in `make test` they draw the same ones every time.
explore: .venv/ready
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -q -n 2 \
	  -m 'hypothesis and not large and not weights'

faults: .venv/ready
	$(BIN)/python -m tests.faults $(FAULTS)

bench: .venv/ready
	$(BIN)/python -m benchmarks

.venv/ready: pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c "$(FITS)" \
	  || { echo "tlkit needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv
