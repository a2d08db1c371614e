# Two commands: `make run` (set up, then listen) and `make test` (set up, then test everything).
# Quick and silent about the set-up when nothing is missing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= config/demo.yaml
# On a machine without a GPU, PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu' saves gigabytes.
PIP_ARGS ?=
MINUTES ?= 5
SEEDS ?= 1
HOURS ?= 24
CASES ?= 100000
TRITON := triton==3.9.0
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .stamps

RUN_PACKAGES := python3-venv libportaudio2
TEST_PACKAGES := $(RUN_PACKAGES) chromium ffmpeg libasound2-plugins mosquitto mosquitto-clients openssl prometheus \
  pulseaudio systemd gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3-gi

.PHONY: help run test check format schema large homeassistant chaos soak fuzz clean
.DELETE_ON_ERROR:

help: ## what can be made
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMPS)/run ## listen: the default microphone, or a demo scene where there is none (CONFIG=file.yaml)
	@if [ "$(CONFIG)" != config/demo.yaml ]; then exec $(BIN)/sound-monitor run $(CONFIG); fi; \
	if input=$$($(BIN)/sound-monitor devices --default 2>/dev/null); then \
	  echo "listening to the default input: $$input"; \
	  exec $(BIN)/sound-monitor run $(CONFIG) --overlay config/overlays/microphone.yaml; \
	fi; \
	echo "no microphone is there: listening to a demo scene"; \
	exec $(BIN)/sound-monitor run $(CONFIG)

test: check $(STAMPS)/test ## run all checks and tests
	@$(BIN)/python -m pytest -m "not large" $(PYTEST_ARGS)

check: $(STAMPS)/test ## lint, format, types, import layers
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > $(STAMPS)/layers.log || { cat $(STAMPS)/layers.log; exit 1; }

format: $(STAMPS)/test ## mend the format
	@$(BIN)/ruff check -q --fix .
	@$(BIN)/ruff format -q .

schema: $(STAMPS)/run ## write config/schema.json and config/REFERENCE.md anew
	@$(BIN)/python -m monitor.schema > config/schema.json
	@$(BIN)/python -m monitor.reference > config/REFERENCE.md

large: $(STAMPS)/test ## the tests that take full-size models or many minutes
	@$(BIN)/python -m pytest -m large $(PYTEST_ARGS)

chaos: $(STAMPS)/test ## break everything around a real daemon and count the events (MINUTES=60 SEEDS="1 2 3")
	@$(BIN)/python tests/chaos.py --minutes $(MINUTES) --seed $(SEEDS)

fuzz: $(STAMPS)/test ## hostile inputs of every kind, CASES of them, new ones each time
	@FUZZ_CASES=$(CASES) $(BIN)/python -m pytest tests/test_fuzz.py --timeout 0 --hypothesis-show-statistics $(PYTEST_ARGS)

soak: $(STAMPS)/test ## replay days of sound and check that nothing grows (HOURS=24)
	@$(BIN)/python tests/soak.py --hours $(HOURS)

homeassistant: $(STAMPS)/test ## the tests with a real Home Assistant, which is installed into an environment of its own
	@.ci/homeassistant .venv-homeassistant $(PYTHON)
	@$(BIN)/python -m pytest -m large -s tests/test_home_assistant.py $(PYTEST_ARGS)

clean: ## remove what make has set up
	rm -rf $(VENV) .venv-homeassistant $(STAMPS) dist

$(STAMPS)/run: pyproject.toml constraints.txt
	@mkdir -p $(STAMPS)
	@.ci/packages $(RUN_PACKAGES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(STAMPS)/test: $(STAMPS)/run
	@.ci/packages $(TEST_PACKAGES)
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[test]'
	@# CUDA builds of torch bring Triton, each its own; without a GPU, any interprets our kernels.
	@$(BIN)/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('triton') is None)" || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(TRITON) || \
	  echo "without $(TRITON) the tests of the GPU's kernels are skipped"
	@touch $@
