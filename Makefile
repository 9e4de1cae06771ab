# make with no target prints the targets. Everything runs in .venv and writes to .work; see CONTRIBUTING.md.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

RUN := tools/run
# The bed starts before there is an environment, so it runs on any Python 3.11 or newer.
BED = $$(tools/find-python) tests/sites/bed
# The unit tests of the repository's driver run a real restic; the bed builds it at its first use and keeps it.
RESTIC = "$$($(BED) build restic)/restic"
# A test file or folder: make unit ONLY=tests/unit/plugins/module_utils/oci
ONLY ?= tests/unit

.PHONY: help
help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## Install the locked Python packages into .venv
	@tools/make-venv

.PHONY: sites
sites: system ## Bring up the two sites and the witness of the test bed
	@$(BED) up

.PHONY: sites-down
sites-down: ## Remove the test bed without a trace (its caches stay)
	@$(BED) down

.PHONY: clean-cache
clean-cache: ## Remove what the test bed has built and cached
	@$(BED) clean-cache

.PHONY: drill
drill: venv sites ## Watch the main job: back up, replicate, lose a site, prove the restore at the other
	@$(RUN) tests/sites/drill

.PHONY: bench-objects
bench-objects: venv sites ## Time capture and restore of objects against bare loops (some 20 minutes; nothing else should run)
	@$(RUN) tests/bench/objects/bench $(BENCH)

.PHONY: bench-images
bench-images: venv ## Time the copying of images against crane, regsync and skopeo (some 20 minutes; nothing else should run)
	@$(RUN) tests/bench/images/bench $(BENCH)

.PHONY: bench-volumes
bench-volumes: venv sites ## Time volumes against restic alone and Velero (an hour and more; nothing else should run)
	@$(RUN) tests/bench/volumes/bench $(BENCH)

.PHONY: test
test: ## Run lint, the unit tests, those against a real API server, and the Molecule scenarios
	@tools/steps lint unit api molecule

.PHONY: lint
lint: venv system ## Run every static check
	@$(MAKE) --jobs=2 --output-sync=target --keep-going lint-python lint-yaml lint-ansible docs sanity

.PHONY: lint-python
lint-python: venv
	@$(RUN) ruff check --quiet .
	@$(RUN) ruff format --quiet --check . || { echo "Run: tools/run ruff format ."; exit 1; }
	@$(RUN) mypy --no-error-summary plugins/module_utils
	@echo "ruff and mypy: clean"

.PHONY: lint-yaml
lint-yaml: venv
	@$(RUN) yamllint --strict .
	@$(RUN) antsibull-changelog lint
	@echo "yamllint and antsibull-changelog: clean"

.PHONY: lint-ansible
lint-ansible: venv
	@tools/lint-ansible

.PHONY: docs
docs: venv ## Check and render the documentation of modules and roles
	@tools/render-docs

.PHONY: sanity
sanity: venv ## Run ansible-test sanity
	@tools/sanity

.PHONY: unit
unit: venv system ## Run the unit tests, in parallel, and print their coverage (ONLY=path for a part of them)
	@MUSTER_RESTIC=$(RESTIC) $(RUN) pytest --numprocesses auto -m "not nightly" --cov --cov-report=term $(ONLY)

.PHONY: api
api: venv system ## Run the tests of objects against a real API server, which the test bed builds (no container engine)
	@$(RUN) pytest --numprocesses auto $(or $(filter tests/api%,$(ONLY)),tests/api)

.PHONY: test-lowest
test-lowest: system ## Run the unit tests with the oldest packages that requirements.txt allows
	@tools/make-venv .work/venv-lowest requirements/lowest.lock "$$(tools/find-python 3.11)"
	@MUSTER_VENV="$$PWD/.work/venv-lowest" MUSTER_RESTIC=$(RESTIC) $(RUN) pytest --numprocesses auto -m "not nightly" $(ONLY)

.PHONY: molecule
molecule: venv sites ## Run the Molecule scenarios on the two sites
	@# What Molecule remembers of a run that was broken off would let it skip the preparation of this one.
	@rm -rf .work/ansible-home/tmp/molecule.*
	@$(RUN) molecule test --all

.PHONY: nightly
nightly: venv sites ## Run the tests on the two sites that take long, or that need programs which take long to build
	@MUSTER_RESTIC=$(RESTIC) $(RUN) pytest --durations=0 -m nightly tests/unit tests/integration

.PHONY: build
build: venv ## Build the collection's artefact into .work/build
	@tools/copy-collection .work/build
	@$(RUN) ansible-galaxy collection build .work/build/ansible_collections/muster/container_dr --force --output-path .work/build

.PHONY: system
system:
	@tools/require-system-packages

.PHONY: clean
clean: ## Remove .venv and what tests and tools left in .work (the test bed must be down)
	@if [ -e .work/sites/bed.json ]; then echo "The test bed is up. Run 'make sites-down' first."; exit 1; fi
	@rm -rf .venv .work .ansible
