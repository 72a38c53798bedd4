# make repro   the whole pipeline on params.yaml, then the comparison of the models
# make test    linter, type checker, tests
# make show    the results as one page, page.html
# make diff    what this branch does to the results of BASE, as its pull request shows it: make diff BASE=main
# make attack  kills, full disks, thousands of damaged files: some of it is in `make test`, here is all
# make audit   what is known against the pinned packages
# make lock    pins what the ranges of pyproject.toml resolve to today
.PHONY: repro test show diff attack audit lock

PYTHON ?= python3
BASE ?= main
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

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
	@.venv/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --progress-spinner off

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
