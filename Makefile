# edgewright: `make demo` and `make test` make the environment first; nothing else has to be done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
OUT ?= out

.PHONY: help demo test check bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    makes the environment, then plans and builds examples/digits for this machine, a board and a microcontroller (into $(OUT)/)"
	@echo "make test    makes the environment, then runs every test"
	@echo "make check   lint and types"
	@echo "make bench   the benchmarks that need no data from outside"
	@echo "make clean   removes the environment and what was built"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edgewright needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel -c constraints.txt
	$(BIN)/python -m pip install --quiet torch -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[onnxruntime,tflite,nvidia-rtx,examples,dev]'
	@mkdir -p $(VENV)/typing && ln -sfn "$(CURDIR)" $(VENV)/typing/edgewright
	@$(BIN)/edgewright devices make tflite-runtime || echo "the tests with the old TFLite interpreter will be skipped"
	@$(BIN)/edgewright devices make qemu-cortex-a72 || echo "the tests on emulated ARM will be skipped"
	@touch $@

demo: $(STAMP)
	$(BIN)/edgewright plan examples/digits/recipe.yaml
	$(BIN)/edgewright build examples/digits/recipe.yaml --out $(OUT) \
	  --target host --target arm64-cortex-a72 --target arm-cortex-m

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(VENV)/typing $(BIN)/mypy --strict -p edgewright

bench: $(STAMP)
	@for script in benchmarks/suite/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script --quick || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info $(OUT)
