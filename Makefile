# Attune. `make demo` and `make test` set up everything they need on a fresh machine.
#
#   PYTHON           the interpreter that makes the virtual environment (3.11 to 3.13)
#   TORCH_INDEX_URL  where pip takes torch from; https://download.pytorch.org/whl/cpu spares a machine
#                    without a GPU some gigabytes of CUDA
#   SERVE            0 ends `make demo` after the table of results
#   PORT             of the demo site, 8000 by default
#   SEEDS            of `make reproduce`, such as 0,1,2
#   POSTGRES_TESTS   what `make test-postgres` runs; tests for everything

PYTHON ?= python3
PORT ?= 8000
SERVE ?= 1
SEEDS ?= 0
VENV := .venv
RUN := $(VENV)/bin
PIP := $(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo serve reproduce test test-sqlite test-postgres check format browser models benchmarks

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.demo ## a running site with a finished demonstration study
	$(RUN)/python manage.py demo
ifneq ($(SERVE),0)
	$(MAKE) --no-print-directory serve
endif

serve: $(VENV)/.demo ## serve the demonstration site again
	$(RUN)/python manage.py serve_demo --port $(PORT)

reproduce: $(VENV)/.demo ## the paper's methods on the demonstration's content, 50 minutes a seed on 2 busy cores
	$(RUN)/python manage.py reproduce_paper --phase 1 --seeds $(SEEDS)

# What asks the database. Left out is what reckons, trains, or is seen in a browser: it asks as much on SQLite.
# POSTGRES_TESTS=tests runs everything.
POSTGRES_TESTS ?= -m "django_db and not model and not browser" --ignore tests/annotation/test_blinding.py \
	--ignore tests/evaluation/test_sweep.py --ignore tests/evaluation/test_reproduction.py tests/annotation \
	tests/evaluation tests/training/test_admin.py tests/training/test_datasets.py tests/training/test_runs.py \
	tests/training/test_selection.py $(wildcard tests/test_*.py)

test: test-sqlite test-postgres ## the whole suite on SQLite, browser included, and what asks the database on PostgreSQL

test-sqlite: $(VENV)/.dev models browser
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest --numprocesses auto --dist loadgroup

test-postgres: $(VENV)/.dev models browser
	OMP_NUM_THREADS=1 $(RUN)/python -m tests.postgres $(RUN)/python -m pytest --numprocesses auto --dist loadgroup \
		$(POSTGRES_TESTS)

check: export ATTUNE_DEBUG = 1
check: $(VENV)/.dev ## format, lint, templates, types, import direction, migrations
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	git ls-files -z -- 'templates/*.html' | xargs -0 $(RUN)/djade --check --target-version 5.2
	$(RUN)/mypy .
	$(RUN)/lint-imports
	$(RUN)/python manage.py makemigrations --check --dry-run

format: $(VENV)/.dev ## put code and templates in order
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .
	git ls-files -z -- 'templates/*.html' | xargs -0 $(RUN)/djade --target-version 5.2

browser: $(VENV)/.dev
	@sh tests/browser/install.sh $(RUN)/python

benchmarks: $(VENV)/.dev models ## ratios of speed, each measured within one run
	OMP_NUM_THREADS=1 $(RUN)/python -m benchmarks.agreement
	OMP_NUM_THREADS=1 $(RUN)/python -m benchmarks.export
	OMP_NUM_THREADS=1 $(RUN)/python -m benchmarks.report_pages
	$(RUN)/python -m benchmarks.scoring
	$(RUN)/python -m benchmarks.shared_encoder
	$(RUN)/python -m benchmarks.modpo_step
	$(RUN)/python -m benchmarks.sweep

models: $(VENV)/.demo ## the small models that run on a CPU, once
	$(RUN)/python manage.py prepare_models

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Attune needs Python 3.11 to 3.13: run make again with PYTHON=python3.12, say" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "python cannot make a virtual environment: install python3-venv (Debian, Ubuntu)" >&2; exit 1; }

# torch first and alone, so that TORCH_INDEX_URL decides its build and nothing else.
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) setuptools
	$(PIP) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch
	$(PIP) --no-build-isolation --editable '.[training,demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@
