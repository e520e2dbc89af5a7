# Everything a developer runs. The first target that needs it makes .venv from the lock file. The Kubernetes control
# plane of the tests is built once per machine, outside the repository; that of the demo is downloaded where it can be
# (see tests/harness/control_plane/binaries.py).
#
# Variables: PYTHON (3.11 or newer, to make .venv with), ARGS (passed to pytest, or to uv by `make lock`), WORKERS,
#            KEEP and CLUSTER=current (for `make demo`), SIZE, SCENARIOS, JSON and COMPARE (for `make bench`),
#            MINUTES (for `make soak`, `make fuzz` and `make fuzz-guided`), RECORDINGS (for `make record`),
#            IMAGE and BASE_IMAGE (for `make image`),
#            IMAGE_REPOSITORY (where the image is, for `make image` and `make dist`), DIST (for `make dist`),
#            TAG and ADDRESS (for `make release-check`),
#            KUBEBUILDER_ASSETS (a control plane to use instead of building or downloading one),
#            CONTROL_PLANE=build (never download it), ENVTEST_RELEASES (a mirror to download it from).

SHELL := /bin/sh
BIN := .venv/bin
# Test processes; each has its own control plane and operator, and mostly waits.
WORKERS ?= 3
# Of `make bench`: tiny, small or full (half an hour), and where its figures are written.
SIZE ?= full
JSON ?= build/bench.json
# For `make soak`, `make fuzz` and `make fuzz-guided`.
MINUTES ?= 30
# Output directory of `make record`.
RECORDINGS ?= build/recordings
STAMP := .venv/.made-from-lock
REQUESTED_PYTHON := $(PYTHON)

export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/tests
export PYTHONUNBUFFERED := 1
export KEEP CLUSTER CONTROL_PLANE ENVTEST_RELEASES
# A test run starts a thousand Python processes, each of which would compile the sources again without a cache.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(STAMP)  ## Show the operator at work on a cluster and a Harbor stand-in (KEEP=1 leaves them running, CLUSTER=current)
	$(BIN)/python -m harness.demo

.PHONY: test
test: check-go lint check-generated control-plane helm  ## Run all checks and tests (ARGS="-k name" selects tests)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-unit
test-unit: $(STAMP)  ## Run the unit tests alone, which need neither Go nor a control plane (ARGS=)
	$(BIN)/pytest tests/unit $(ARGS)

.PHONY: bench
bench: control-plane  ## Measure speed, requests, writes and memory (SIZE=small; SCENARIOS=, COMPARE=, JSON=, ARGS=--help)
	$(BIN)/python -m bench --size $(SIZE) --scenarios '$(SCENARIOS)' --json $(JSON) \
		$(if $(COMPARE),--compare $(COMPARE)) $(ARGS)

.PHONY: soak
soak: control-plane  ## Random edits and faults for half an hour (MINUTES=, ARGS="--seed 7", ARGS=--help)
	$(BIN)/python -m bench.soak --minutes $(MINUTES) $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP)  ## Fuzz every parser of foreign text; texts that break one are kept in tests/data/fuzz (MINUTES=10)
	$(BIN)/python -m harness.fuzz --minutes $(MINUTES) $(ARGS)

# The newest version: it is not shipped, and therefore not pinned.
ATHERIS := build/atheris
.PHONY: fuzz-guided
fuzz-guided: $(STAMP)  ## The same guided by coverage, with atheris: needs a wheel of it for this Python (MINUTES=)
	@[ -d $(ATHERIS) ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(ATHERIS) atheris
	@set -- $(patsubst tests/data/fuzz/%.json,%,$(wildcard tests/data/fuzz/*.json)); \
	for target; do \
		PYTHONPATH=$(PYTHONPATH):$(ATHERIS) $(BIN)/python -m harness.fuzz.guided $$target \
			--seconds $$(( $(MINUTES) * 60 / $$# )) || exit 1; \
	done

.PHONY: audit
audit: $(STAMP)  ## Check the pinned dependencies against the database of known vulnerabilities (needs the network)
	@[ -x build/audit/bin/pip-audit ] || \
	{ $(BIN)/python -m venv build/audit && build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock $(ARGS)
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements-dev.lock $(ARGS)

.PHONY: record
record: $(STAMP)  ## Record the answers of the Harbor in HARBORHOOK_TEST_HARBOR_* (RECORDINGS=, ARGS=--help)
	$(BIN)/python -m contract.record --output $(RECORDINGS) $(ARGS)

.PHONY: test-node
test-node: control-plane helm  ## Test image and chart in pods of a real node (Linux, as root; says what is missing)
	$(BIN)/python -m harness.node $(BIN)/pytest -x tests/node $(ARGS)

.PHONY: test-receivers
test-receivers: control-plane  ## Test the how-tos with real receivers: Flux, Tekton (built once, in minutes)
	$(BIN)/python -m harness.receiver_programs $(BIN)/pytest tests/receivers $(ARGS)

.PHONY: image
image:  ## Build the operator's image with docker, podman or buildah, whichever is there
	@for tool in docker podman buildah; do \
		command -v $$tool >/dev/null || continue; \
		[ $$tool != docker ] || docker info >/dev/null 2>&1 || continue; \
		echo "Building $(IMAGE) with $$tool ..."; \
		exec $$tool build --tag "$(IMAGE)" $(IMAGE_OPTIONS) $(ARGS) .; \
	done; \
	echo "An image is built with docker (and its daemon running), podman or buildah, and none of them is here." >&2; \
	exit 1

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE_REPOSITORY ?= harborhook
IMAGE ?= $(IMAGE_REPOSITORY):$(VERSION)
IMAGE_OPTIONS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) \
	$(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE))

# Output directory of `make dist`.
DIST ?= dist

.PHONY: dist
dist: $(STAMP)  ## Make the files of a release: wheel, chart, install.yaml, plugin, SBOM, checksums (IMAGE_REPOSITORY=, DIST=)
	$(BIN)/python -m harness.release --image-repository '$(IMAGE_REPOSITORY)' --output '$(DIST)'

.PHONY: release-check
release-check: $(STAMP)  ## Check that this version can be released (TAG=v1.2.3, ADDRESS= of the repository)
	$(BIN)/python -m harness.release.check '$(TAG)' '$(ADDRESS)'

.PHONY: lint
lint: $(STAMP)  ## Check style, types, import contracts, workflows and wording
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy operator tests
	$(BIN)/lint-imports
	$(BIN)/python -m harness.workflows
	$(BIN)/python -m harness.wording

.PHONY: format
format: $(STAMP)  ## Format the code and apply automatic fixes
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: generate
generate: $(STAMP)  ## Write the CRDs, the reference, the chart's copies, and the picture in the README
	$(BIN)/python -m harness.generate --output crds
	$(BIN)/python -m harness.chart_files
	$(BIN)/python -m harness.status_picture

.PHONY: check-generated
check-generated: $(STAMP)
	$(BIN)/python -m harness.generate --check
	$(BIN)/python -m harness.chart_files --check
	$(BIN)/python -m harness.status_picture --check

.PHONY: control-plane
control-plane: check-go $(STAMP)  ## Build the tests' control plane (minutes, once per machine)
	$(BIN)/python -m harness.control_plane build

.PHONY: helm
helm: check-go $(STAMP)  ## Build Helm for the tests of the chart (minutes, once per machine)
	$(BIN)/python -m harness.helm

.PHONY: check-go
check-go:
	@tests/harness/bootstrap.sh go

.PHONY: lock
lock:  ## Pin the dependencies of pyproject.toml again (ARGS=--upgrade for newer ones; needs uv)
	@PATH="$$PATH:$(BIN)"; python=$$(PYTHON='$(REQUESTED_PYTHON)' tests/harness/bootstrap.sh python) || exit 1; \
	command -v uv >/dev/null || { echo "uv is needed to pin dependencies: pip install uv" >&2; exit 1; }; \
	set -e; \
	uv pip compile $(LOCK_OPTIONS) $(ARGS) pyproject.toml --output-file requirements.lock; \
	"$$python" -c '$(PRINT_BUILD_REQUIREMENTS)' | \
	uv pip compile $(LOCK_OPTIONS) $(ARGS) pyproject.toml --extra dev - --output-file requirements-dev.lock; \
	uv pip compile $(LOCK_OPTIONS) $(ARGS) requirements-docs.in --output-file requirements-docs.lock
	@echo "Written: requirements.lock (the operator), requirements-dev.lock (everything), requirements-docs.lock (the site)"

LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# The package itself is installed without build isolation, that is with the pinned setuptools: it must be in the lock.
PRINT_BUILD_REQUIREMENTS := import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

# The site's build environment, separate from .venv. Mermaid draws the diagrams; it is part of the site, so that a # reader's browser sends no request to other hosts.
DOCS_BIN := build/docs-venv/bin
MERMAID_VERSION := 12.3.0
MERMAID_SHA512 := e35d774dd5de2c0b0caee27bf4ea452f93bcf8b4c55e142a676eb4ac5ded8149a2340b519b852e99ed3823eeb93d137ac99ebd2787fcad56165bccd193ae5463
MERMAID := build/mermaid/package/dist/mermaid.min.js

.PHONY: docs
docs: build/docs-venv/.made $(MERMAID)  ## Build the documentation as a site into build/site; a broken link fails (needs npm)
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build

.PHONY: test-docs
test-docs: docs  ## Open every page of the site in a headless Chromium (CHROMIUM=path)
	$(DOCS_BIN)/python -m harness.site_browser build/site

build/docs-venv/.made: requirements-docs.lock
	@python=$$(PYTHON='$(REQUESTED_PYTHON)' tests/harness/bootstrap.sh python) && \
	{ [ -x $(DOCS_BIN)/python ] || "$$python" -m venv --clear build/docs-venv; }
	$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@

$(MERMAID):
	@mkdir -p build/mermaid
	cd build/mermaid && npm pack --silent mermaid@$(MERMAID_VERSION)
	echo "$(MERMAID_SHA512)  build/mermaid/mermaid-$(MERMAID_VERSION).tgz" | sha512sum --check --quiet
	tar -xzf build/mermaid/mermaid-$(MERMAID_VERSION).tgz -C build/mermaid -m package/dist/mermaid.min.js
	@rm build/mermaid/mermaid-$(MERMAID_VERSION).tgz

.PHONY: clean
clean:  ## Remove .venv, caches and build results (not the control plane, which is kept outside)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist operator/*.egg-info
	find operator tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Recreated only when the lock or pyproject.toml changes, and then in place.
$(STAMP): requirements-dev.lock pyproject.toml
	@python=$$(PYTHON='$(REQUESTED_PYTHON)' tests/harness/bootstrap.sh python) && \
	echo "Installing the pinned dependencies into .venv with $$python (about a minute) ..." && \
	{ [ -x $(BIN)/python ] || "$$python" -m venv --clear .venv; }
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check || { echo "The lock does not fit pyproject.toml: run make lock." >&2; exit 1; }
	@touch $@
