# The commands of this repository; the same here and in CI. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := dev,examples
comma := ,
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Arguments passed on: make demo ARGS="--seed 1 --folder preflab-demo-1", make test ARGS="tests/by_hand -x"
ARGS :=
# Test processes: JOBS=0 runs in one, for a debugger. The tests of a file stay together and share what it builds once.
JOBS := 2
PYTEST = $(OFFLINE) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# One thread: results are equal run after run, and two cores are not fought over.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false

# Nothing here may reach for the network once it is installed.
OFFLINE := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 WANDB_MODE=disabled

.PHONY: help install demo test slow every test-all mutants check format docs models bench bench-smoke bench-gpu \
  test-gpu clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(STAMP)  ## the virtual environment .venv with everything in it; more by EXTRAS=dev,examples,postgres
	@for extra in $(subst $(comma), ,$(EXTRAS)); do \
	  grep -qw "$$extra" $(STAMP) || { $(PIP) -e '.[$(EXTRAS)]' && echo '$(EXTRAS)' >> $(STAMP) || exit 1; break; }; done

# torch comes first and pinned: a later package would otherwise choose a build of its own.
$(STAMP): pyproject.toml constraints.txt
	@python=; for candidate in "$(PYTHON)" python3.11 python3 python3.12 python3.13; do \
	  if [ -n "$$candidate" ] && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.11 or newer was found (python3 is $$(python3 --version 2>&1 || true))" >&2; \
	  echo "       preflab needs Python >= 3.11 with the venv module" >&2; \
	  echo "       install one, or name it: make install PYTHON=/path/to/python3.11" >&2; \
	  exit 2; fi; \
	[ -x $(BIN)/python ] || "$$python" -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[$(EXTRAS)]'
	@echo '$(EXTRAS)' > $(STAMP)

demo: $(STAMP)  ## the whole loop on a tiny model of its own, with a report at the end
	$(OFFLINE) $(BIN)/preflab demo $(ARGS)

test: $(STAMP)  ## the quick tests
	$(PYTEST) $(ARGS)

# Those that time something go last, with nothing beside them. Status 5: ARGS chose none of this half.
slow: $(STAMP)  ## the slow tests alone
	$(PYTEST) -m 'slow and not timed' $(ARGS) || [ $$? -eq 5 ]
	$(PYTEST) -n 0 -m 'slow and timed' $(ARGS) || [ $$? -eq 5 ]

every: $(STAMP)  ## the slow tests on every architecture, which take an hour
	$(PYTEST) -m every $(ARGS)

test-gpu: $(STAMP)  ## the tests on a GPU, one at a time
	$(OFFLINE) $(BIN)/python -m pytest -n 0 -m gpu tests/gpu $(ARGS)

test-all: $(STAMP)  ## all tests but those on a GPU
	$(PYTEST) -m 'not gpu' $(ARGS)

# PYTHONPATH: this checkout's modules, the tool's among them, whatever is installed.
mutants: $(STAMP)  ## changes the source in 150 small ways and counts what the tests notice; ARGS="--num 150 --seed 0"
	$(OFFLINE) PYTHONPATH=src:tests $(BIN)/python -m mutation $(ARGS)

check: $(STAMP)  ## lint, format and types, without changing a file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## put the files into the common format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## write docs/reference from the code, then test that all documentation agrees with it
	$(OFFLINE) $(BIN)/python docs/generate.py
	$(PYTEST) tests/docs $(ARGS)

models: $(STAMP)  ## try a tiny model of every architecture and write docs/reference/models.md (half an hour)
	$(OFFLINE) $(BIN)/python docs/models.py $(ARGS)

bench: $(STAMP)  ## timings against the peers (see benchmarks/README.md)
	$(OFFLINE) $(BIN)/python benchmarks/peers.py $(ARGS)

bench-smoke: $(STAMP)  ## operation counts of one step of every loop, compared with derived numbers
	$(OFFLINE) $(BIN)/python benchmarks/smoke.py $(ARGS)

bench-gpu: $(STAMP)  ## correctness and timings on a GPU; try it without: ARGS="--device cpu --model tiny"
	$(OFFLINE) $(BIN)/python benchmarks/gpu.py $(ARGS)

clean:  ## remove caches and build products (not .venv, not your runs)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
