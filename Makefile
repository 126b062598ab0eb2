# make run [EXPERIMENT=digits] [CORES=4]   run an experiment, setting up everything it needs
# make publish [EXPERIMENT=digits]         a folder and a zip of what is worth sending (ARGS='--author Me')
# make test                                quick tests and the smoke experiment
# make check                               linters and types
# make pins                                pin anew all that requirements pull in, in a new environment
# make clean-experiment EXPERIMENT=digits  delete one experiment's results
# make clean                               delete all results and the environment

EXPERIMENT ?= faces
CORES ?= all
PYTHON ?= python3
BIN := .venv/bin
# Jobs that run a model take one GPU each, of this many.
GPUS := $(shell ls /proc/driver/nvidia/gpus 2> /dev/null | wc -l)
FILE := resources/experiments/$(EXPERIMENT).yaml
CONFIGFILE := $(if $(filter-out faces,$(EXPERIMENT)),--configfile $(FILE))

.PHONY: help known-experiment known-results run publish test check pins clean clean-experiment
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# Before anything is installed.
known-experiment:
	@test -z "$(CONFIGFILE)" || test -f "$(FILE)" || { printf '%s\n' "there is no $(FILE); EXPERIMENT is one of:" \
	  "  faces $$(ls resources/experiments | sed -n 's/\.yaml$$//p' | tr '\n' ' ')" >&2; exit 2; }

known-results:
	@test -d "results/$(EXPERIMENT)" || { echo "there is no results/$(EXPERIMENT): nothing to publish" >&2; exit 2; }

run: known-experiment .venv/torch
	@$(BIN)/snakemake --cores $(CORES) --rerun-incomplete --retries 1 --quiet rules $(if $(filter-out 0,$(GPUS)),--resources gpu=$(GPUS)) $(CONFIGFILE) || { status=$$?; \
	  test -z "$$(ls .snakemake/locks 2> /dev/null)" || printf '%s\n' \
	    "This folder is locked. Either another snakemake is at work here (wait for it), or a killed run left its lock." \
	    "If none is running: $(strip $(BIN)/snakemake --unlock $(CONFIGFILE)), then the same make command again." >&2; \
	  exit $$status; }
	@$(BIN)/snakemake --quiet all --report results/$(EXPERIMENT)/report.html $(CONFIGFILE)
	$(BIN)/python scripts/summary.py results/$(EXPERIMENT)

publish: known-results .venv/publish
	@$(BIN)/python scripts/publish.py results/$(EXPERIMENT) $(ARGS)

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not slurm"

check: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile rules resources/pretrain/Snakefile
	$(BIN)/mypy
	$(BIN)/snakemake --lint
	$(BIN)/snakemake --lint -s resources/pretrain/Snakefile

pins:
	rm -rf .venv
	$(MAKE) --jobs=1 .venv/dev .venv/slurm
	$(BIN)/python scripts/pin_packages.py

.venv/%: envs/%.txt envs/light.txt envs/torch.txt envs/faces.txt envs/slurm.txt envs/publish.txt envs/constraints.txt | .venv/bin/python
	@echo "Installing what envs/$*.txt pins, some minutes in silence:"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "error: Python 3.11 to 3.13 is needed, $(PYTHON) is %d.%d; set PYTHON=..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv

clean-experiment:
	@case "$(EXPERIMENT)" in ""|*/*|.*) echo "EXPERIMENT must be the name of an experiment" >&2; exit 2;; esac
	@test -d "results/$(EXPERIMENT)" || echo "there is no results/$(EXPERIMENT): nothing to delete"
	rm -rf -- "results/$(EXPERIMENT)"

clean:
	rm -rf .venv .snakemake
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
