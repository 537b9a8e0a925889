# The project's life in commands; `make` alone lists them.
# Only POSIX sh, Python and pip are used. On Windows see CONTRIBUTING.md.

PYTHON ?= python3
VENV   ?= .venv
RUN    ?= runs/demo
BUDGET ?= 85s
# One process per core, at most four: each holds torch. Empty: one process (for a debugger).
JOBS   ?= -n auto --maxprocesses 4 --dist loadfile

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
FAST := not slow and not network and not gpu

# Stamps: touched when an install worked, older than what it installed from when it is stale.
CORE := $(VENV)/.core-installed
DEV  := $(VENV)/.dev-installed

.PHONY: help demo setup check test test-all soak lint format wheel lock sbom web audit clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile
	@echo "Any Python from 3.11 will do: make demo PYTHON=python3.12"
	@echo "Linux without a GPU, 5 GB less:"
	@echo "  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo"

demo: $(CORE)  ## train on the bundled sample, evaluate, classify five images (about 2 minutes)
	$(BIN)/resnets train sample --budget $(BUDGET) --out $(RUN)
	$(BIN)/resnets evaluate $(RUN)
	$(BIN)/python examples/demo_images.py $(RUN)-images
	$(BIN)/resnets predict $(RUN) $(RUN)-images/*.png
	@echo
	@echo "Next, with your own photos, one folder per class (photos/cat/1.jpg, photos/dog/1.jpg, ...):"
	@echo "  $(BIN)/resnets train photos/ --out runs/photos"
	@echo "  $(BIN)/resnets evaluate runs/photos"
	@echo "  $(BIN)/resnets predict runs/photos new.jpg"
	@echo "Everything else: $(BIN)/resnets --help"

setup: $(DEV)  ## install the package and the tools of its tests into .venv

check: test  ## the same as test

test: lint  ## format, lint, types and the fast tests: what has to pass before a commit
	@echo "Left out here: tests marked slow, network or gpu; \`make test-all\` runs them."
	$(BIN)/python -m pytest $(JOBS) -m "$(FAST)"

test-all: lint  ## every test, the slow ones too
	$(BIN)/python -m pytest $(JOBS)

soak: $(DEV)  ## the tests of reliability at their full counts: an hour; writes results/reliability.csv
	RESNETS_SOAK=1 $(BIN)/python -m pytest tests/test_killed.py tests/test_faulty_saves.py tests/test_workers.py \
	  tests/test_hostile_files.py tests/test_checking.py tests/test_survival.py tests/test_fuzzing.py \
	  tests/test_doctor.py tests/test_ledger.py tests/test_mutations.py \
	  tests/test_faulty_runs.py tests/test_layouts.py \
	  tests/test_serving.py tests/test_serving_limits.py tests/test_serving_faults.py \
	  tests/test_serving_fuzz.py

lint: $(DEV)  ## formatting, ruff and mypy, nothing is changed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(DEV)  ## rewrite the files as ruff wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(DEV)  ## build dist/*.whl, the same bytes from the same commit
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	@$(BIN)/python -c "import hashlib, pathlib; [print(hashlib.sha256(w.read_bytes()).hexdigest(), w) \
	  for w in sorted(pathlib.Path('dist').glob('*.whl'))]"

lock: $(DEV)  ## write requirements-lock*.txt from constraints.txt: every wheel by its hash
	$(BIN)/python tools/lock.py

sbom: $(DEV)  ## write dist/sbom.json (CycloneDX): what an installation consists of
	@mkdir -p dist
	$(BIN)/python tools/sbom.py > dist/sbom.json

web: $(DEV)  ## bring onnxruntime-web, which exported sites contain; needs npm
	$(BIN)/python tools/web.py

audit: $(VENV)/pyvenv.cfg  ## ask for known advisories on what is locked; needs a network
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet pip-audit
	$(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-lock-dev.txt

clean:  ## remove build results and caches; .venv and runs/ stay
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "resnets needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "  fix: make $(MAKECMDGOALS) PYTHON=python3.12  (or another one you have)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; \
	  echo "  fix: on Debian and Ubuntu, apt install python3-venv; then the same command again" >&2; \
	  exit 2; }

$(CORE): pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	@echo "Installing into $(VENV). On Linux torch brings CUDA, 5 GB: the first time takes minutes."
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(DEV): $(CORE)
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@
