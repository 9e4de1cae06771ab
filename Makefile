# make with no target prints the targets. Everything runs in .venv and writes to .work; see CONTRIBUTING.md.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

RUN := tools/run
BED := python3 tests/sites/bed
# One test file or folder: make unit ONLY=tests/unit/plugins/module_utils/_oci
ONLY ?= tests/unit

.PHONY: help
help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## Install the locked Python packages into .venv
	@tools/make-venv

.PHONY: unit
unit: venv ## Run the unit tests, in parallel, and print their coverage (ONLY=path for a part of them)
	@$(RUN) pytest --numprocesses auto --cov --cov-report=term $(ONLY)
