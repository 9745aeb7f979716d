# make repro: everything, from an empty checkout to the page. make test: all tests. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DVC := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc
# Groups of stages that do not depend on each other, the longest first; JOBS of them run at once, each on one thread.
GROUPS := sharp-inpaint mrfnet-studies lmfn-studies search search-texture deblur dual-pixel inpaint inpaint-texture baselines
JOBS ?= $(shell $(PYTHON) -m bench.processors)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
# DVC needs a home, which a user without an entry in /etc/passwd, as in some containers, does not have.
export HOME ?= /nonexistent

.PHONY: help repro stages tour test drill check format docs dashboard screenshots clean
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

# compileall uses all cores, pip only one. It fails for files that some packages hold for other versions of Python.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[perceptual,dev]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $(STAMP)

# Plain `dvc repro` does the same one stage at a time, and every stage imports torch again.
repro: $(STAMP)  ## environment, data, training, scores, tables, figures, page
	$(BIN)/python -m bench.warm $(MAKE) --no-print-directory stages
	@echo "-> $(CURDIR)/reports/out/$$($(BIN)/python -c 'import yaml; print(yaml.safe_load(open("params.yaml"))["profile"])')/index.html"

stages: $(STAMP)
	$(DVC) repro pipeline/data/dvc.yaml
	for group in $(GROUPS); do echo pipeline/$$group/dvc.yaml; done | \
	    PATH="$(CURDIR)/$(BIN):$$PATH" xargs -n 1 -P $(JOBS) $(BIN)/dvc --wait-for-lock repro --single-item
	$(DVC) repro

tour: $(STAMP)  ## a small example of everything, one method per task, in about two minutes
	$(DVC) repro tour/dvc.yaml
	@echo "-> $(CURDIR)/reports/out/tour/index.html"

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

drill: $(STAMP)  ## kill commands, damage files, mutate parameters, in about ten minutes; prints what broke
	$(BIN)/python -m tests.drill

check: $(STAMP)  ## ruff (lint, format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## generate docs/methods, one page per method
	$(BIN)/python -m bench describe

dashboard: $(STAMP)  ## serve MLflow on this machine; PORT=5001 selects another port
	$(BIN)/python -m bench dashboard $(if $(PORT),--port $(PORT))

screenshots: $(STAMP)  ## take pictures of the report and of MLflow with Chromium
	$(BIN)/python -m bench screenshots

clean:  ## remove built data, runs and reports; originals are kept
	rm -rf data out reports/out .resume
