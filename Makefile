# make         list the targets
# make repro   run the pipeline on params.yaml, then print the comparison of the models
# make test    run the linter, the type checker and the tests
# make show    write the results as one page, page.html
# make diff    print what this branch changes in the results of BASE, as its pull request shows it: make diff BASE=main
# make attack  run all tests with kills, full disks and damaged files; `make test` runs some of them
# make audit   list the known vulnerabilities of the pinned packages; fails if one cannot be looked up
# make lock    pin what the ranges of pyproject.toml resolve to today
.PHONY: help repro test show diff attack audit lock

PYTHON ?= python3
BASE ?= main
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

# The comment at the top of this file.
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
	@pytest

show: .venv/installed
	@python src/show.py

diff: .venv/installed
	@python src/diff.py $(BASE)

attack: .venv/installed
	@ATTACK=all pytest tests/test_attack_*.py

audit:
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/pip install -qq --disable-pip-version-check pip-audit
	@.venv/audit/bin/pip-audit --strict --requirement requirements.lock --no-deps --disable-pip --progress-spinner off

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}")'
	@echo "Installing the packages of requirements.lock into .venv (once, some minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --requirement requirements.lock
	@touch $@

# Without torch's CUDA packages, which it pins itself, and by the name that torch has on PyPI, whatever build is here.
lock:
	@$(PYTHON) -m venv .venv/lock
	@.venv/lock/bin/pip install -qq --disable-pip-version-check $$($(PYTHON) -c 'import tomllib; \
		project = tomllib.load(open("pyproject.toml", "rb")); \
		print(*project["project"]["dependencies"], *project["dependency-groups"]["dev"])')
	@.venv/lock/bin/pip freeze | grep -vE '^(nvidia|cuda|triton)' | sed 's/+cpu$$//' > requirements.lock
	@rm -r .venv/lock
