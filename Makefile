# make repro: everything from nothing to the page. make test: everything that is tested. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DVC := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc
# Groups of stages that need nothing of each other, the longest first; JOBS of them run at once, each on one thread.
GROUPS := sharp-inpaint mrfnet-studies lmfn-studies search search-texture deblur dual-pixel inpaint inpaint-texture baselines
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

.PHONY: help repro stages tour test check format docs dashboard screenshots clean
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

# pip alone would compile with one core. Some packages hold a file for another Python: that one is not compiled.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[perceptual,dev]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $(STAMP)

# Plain `dvc repro` does the same, one stage at a time, and each imports torch anew.
repro: $(STAMP)  ## environment, data, training, scores, tables, figures, page
	$(BIN)/python -m bench.warm $(MAKE) --no-print-directory stages
	@echo "-> $(CURDIR)/reports/out/$$($(BIN)/python -c 'import yaml; print(yaml.safe_load(open("params.yaml"))["profile"])')/index.html"

stages: $(STAMP)
	$(DVC) repro pipeline/data/dvc.yaml
	for group in $(GROUPS); do echo pipeline/$$group/dvc.yaml; done | \
	    PATH="$(CURDIR)/$(BIN):$$PATH" xargs -n 1 -P $(JOBS) $(BIN)/dvc --wait-for-lock repro --single-item
	$(DVC) repro

tour: $(STAMP)  ## the same with one small method a task, in about two minutes
	$(DVC) repro tour/dvc.yaml
	@echo "-> $(CURDIR)/reports/out/tour/index.html"

test: $(STAMP)  ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(STAMP)  ## ruff (lint, format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## write the pages of docs/methods from docstrings, parameters and networks
	$(BIN)/python -m bench describe

dashboard: $(STAMP)  ## open MLflow on this machine's loopback address; PORT=5001 for another port
	$(BIN)/python -m bench dashboard $(if $(PORT),--port $(PORT))

screenshots: $(STAMP)  ## pictures of the report and of MLflow's pages, taken with this machine's Chromium
	$(BIN)/python -m bench screenshots

clean:  ## remove built data, runs and reports; originals stay
	rm -rf data out reports/out .resume
