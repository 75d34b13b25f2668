# Every target does all of its own set-up on a fresh Debian 12: `make demo`, `make test`, `make check`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# what Orlop runs with, and what its tests compare it to
RUN_PACKAGES := python3 python3-venv ca-certificates crun runc
TEST_PACKAGES := $(RUN_PACKAGES) attr containerd debootstrap docker-registry docker.io e2fsprogs erofs-utils faketime git \
	golang-go golang-src libarchive-tools libcap2-bin podman procps skopeo strace tinyproxy tmux umoci user-mode-linux

.PHONY: help demo test soak powercuts hazards check format bench clean packages-run packages-test

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: packages-run $(VENV)/run  ## The main job, offline after its set-up: fetch an image over HTTP, mount it, run a program
	@$(VENV)/bin/orlop demo

test: packages-test $(VENV)/dev  ## Everything that must hold
	@scripts/own-root $(PY) -m pytest -n auto --dist loadgroup tests

soak: packages-test $(VENV)/dev  ## The random tests, ten times as long and more
	@ORLOP_SOAK=1 scripts/own-root $(PY) -m pytest -n auto --dist loadgroup --timeout 7200 \
		$$(grep -rl 'support.soak import' tests --include='test_*.py')

powercuts: packages-test $(VENV)/dev  ## Cut the power of a machine after pulls: 30 times Orlop's, and as often the peers'
	@scripts/own-root $(PY) -m bench.powercut $(CUTS)

check: packages-run $(VENV)/dev  ## Format, lint, types, import order
	@$(VENV)/bin/ruff format --check src tests bench
	@$(VENV)/bin/ruff check src tests bench
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo 2>/dev/null || $(VENV)/bin/lint-imports

format: $(VENV)/dev  ## Format and mend what can be mended
	@$(VENV)/bin/ruff format src tests bench
	@$(VENV)/bin/ruff check --fix src tests bench

bench: packages-test $(VENV)/dev  ## Time the main job against podman, containerd, skopeo + umoci (as root, quiet machine)
	@command -v npm >/dev/null || scripts/packages npm
	@mkdir -p .cache
	@$(PY) -m bench.run $(ROUNDS)

hazards: $(VENV)/dev  ## Write down which tests see to which known hazard, and to what the seed systems did
	@$(PY) -m tests.house.hazards
	@$(PY) -m tests.house.lineage

clean:  ## Remove what the other targets made here
	rm -rf $(VENV) .cache dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache

packages-run:
	@scripts/packages $(RUN_PACKAGES)

packages-test:
	@scripts/packages $(TEST_PACKAGES)

$(VENV)/run: pyproject.toml | packages-run
	@scripts/venv $(VENV) '.[serve]'
	@touch $@

$(VENV)/dev: pyproject.toml | packages-run
	@scripts/venv $(VENV) '.[dev]'
	@touch $@ $(VENV)/run
