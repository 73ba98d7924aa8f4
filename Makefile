# Works with GNU Make 3.81 (macOS) and newer. Nothing here needs root.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lab check gallery bench dead-venv

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.setup-done
REPORTS := reports

# A base interpreter that went away (an upgrade by pyenv or Homebrew) leaves the stamp of a .venv that no longer runs.
ALIVE := $(shell $(PYTHON) -c 'import pip' 2>/dev/null && echo alive)

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1:\2/p' Makefile | while IFS=: read -r name text; do \
		printf 'make %-7s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## make .venv with everything that runs, tests and checks the project

# The stamp is made last and removed first: a setup that stopped half-way is run again.
# A .venv of another Python is made anew, not installed over.
$(STAMP): pyproject.toml constraints.txt $(if $(ALIVE),,dead-venv)
	@rm -f $@; \
	if $(PYTHON) -c 'import sys, pip; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
		echo "setup: bringing $(VENV) up to date"; \
	else \
		base=$$(tools/find-python) || exit 1; \
		echo "setup: making $(VENV) with $$base; the first time fetches about 3 GB and takes minutes"; \
		"$$base" -m venv --clear $(VENV) || exit 1; \
	fi; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]' && touch $@

demo: setup ## prove a fused and an unfused model equal, and write the design review with the verdict in it
	@mkdir -p $(REPORTS)
	@$(VENV)/bin/workbench verify 'M[*-]M[ME]' --html $(REPORTS)/verify.html --output $(REPORTS)/verdict.json --force
	@$(VENV)/bin/workbench report 'M[*-]M[ME]' --against 'M*-MME' --verdict $(REPORTS)/verdict.json \
		-o $(REPORTS)/review.html --force
	@echo "the design review is $(CURDIR)/$(REPORTS)/review.html, the verdict alone verify.html beside it"

# Serial: every process would import torch and megatron for seconds, and their threads would share the same few cores.
test: setup ## run the tests
	@$(PYTHON) -m pytest

lab: setup ## open JupyterLab on the notebooks
	@$(VENV)/bin/workbench lab

check: setup ## formatting, lint, types and the layers of the code
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

gallery: setup ## draw and photograph docs/gallery anew; the photographs need a Chromium
	@$(PYTHON) -m tests.browser.gallery

# Half an hour on two cores that do nothing else. `make bench` is never a part of the tests: they assert no times.
bench: setup ## measure everything, into benchmarks/results/
	@$(PYTHON) benchmarks/run.py
