# make              list these targets
# make repro        run the pipeline with the parameters in params.yaml, then print the report
# make test         run the linter, the type checker and the fast tests
# make show         write all results to a single page, page.html; with recordings: make show LISTEN=1
# make diff         print what this branch changes in the results, compared with BASE: make diff BASE=main
# make experiments  list the last commit and the experiments since, the best validation accuracy first
# make choose       run candidates for a recipe, and rank them by validation accuracy: make choose MODEL=birnn
# make related      train the related work, and compare it with the others: make related SYSTEMS="prcnn densenet"
# make attack       run the slow tests: killed processes, full disks, damaged files, experiments
# make audit        list known vulnerabilities of the pinned packages; fail if a package cannot be checked
# make lock         pin the newest package versions that pyproject.toml allows
.PHONY: help repro test show diff experiments choose related attack audit lock

PYTHON ?= python3
BASE ?= main
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

# Prints the list at the top of this file.
help:
	@sed -n '/^#/!q; s/^# //p' $(firstword $(MAKEFILE_LIST))

repro: .venv/installed
	@dvc repro
	@echo
	@cat report.md

test: .venv/installed
	@ruff check
	@ruff format --check
	@mypy
	@pytest -m "not slow"

show: .venv/installed
	@python src/show.py $(if $(filter-out 0 no false,$(LISTEN)),--listen)

diff: .venv/installed
	@python src/diff.py $(BASE)

experiments: .venv/installed
	@python src/experiments.py

choose: .venv/installed
	@python src/choose.py $(MODEL)

related: .venv/installed
	@python src/related.py $(SYSTEMS)

attack: .venv/installed
	@ATTACK=all pytest -m slow

audit:
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/pip install -qq --disable-pip-version-check pip-audit
	@.venv/audit/bin/pip-audit --strict --requirement requirements.lock --no-deps --disable-pip --progress-spinner off

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"$(PYTHON): expected Python 3.11 or newer, found {v[0]}.{v[1]}")'
	@echo "Installing the packages of requirements.lock into .venv (needed only once; takes a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --requirement requirements.lock
	@touch $@

# Leaves out the CUDA packages, whose versions torch pins, and the suffix +cpu of a CPU-only build of torch.
lock:
	@$(PYTHON) -m venv .venv/lock
	@.venv/lock/bin/pip install -qq --disable-pip-version-check $$($(PYTHON) -c 'import tomllib; \
		project = tomllib.load(open("pyproject.toml", "rb")); \
		print(*project["project"]["dependencies"], *sum(project["dependency-groups"].values(), []))')
	@.venv/lock/bin/pip freeze | grep -vE '^(nvidia|cuda|triton)' | sed 's/+cpu$$//' > requirements.lock
	@rm -r .venv/lock
