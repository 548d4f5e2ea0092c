# `make run` and `make test` do all that they need; scripts/check-machine says what the machine itself must have.
# Works with GNU make 3.81, which is what macOS has.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
SERVER := $(BIN)/voxtral-kokoro

# Installs in silence; what pip said is shown only if it failed.
install = $(BIN)/python -m pip install --disable-pip-version-check --no-input --editable '$(1)' \
	>$(VENV)/pip.log 2>&1 </dev/null || { tail -n 15 $(VENV)/pip.log >&2; echo 'All of it: $(VENV)/pip.log' >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help run test check bench models clean
.DELETE_ON_ERROR:

help: ## Say what can be made
	@echo 'Voxtral-Kokoro: a media server that people talk to.'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo
	@echo 'ARGS are passed on (make run ARGS="--port 9000"); PYTHON chooses the interpreter (make run PYTHON=python3.12).'

run: models ## Install what is missing, fetch the models, start the server
	@exec $(SERVER) serve $(ARGS)

test: $(VENV)/.test models ## Run every test, the browser's too
	@scripts/test-page
	@scripts/network-tools
	@scripts/phones
	@CHROMIUM="$$(scripts/find-chromium)" && FIREFOX="$$(scripts/firefox)" && export CHROMIUM FIREFOX && \
		exec $(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.test ## Format, lint, strict types, import contract, the page's syntax
	@$(BIN)/ruff format --check --quiet . || { echo 'Not formatted: run $(BIN)/ruff format.' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --strict
	@$(BIN)/python -m pytest --quiet tests/test_import_contract.py
	@scripts/check-page

bench: models ## Measure voice to voice latency on this machine
	@exec $(BIN)/python bench/voice_to_voice.py $(ARGS)

models: $(VENV)/.base ## Fetch the models that are missing
	@$(SERVER) models fetch

clean: ## Remove what was installed and built here; the models stay
	rm -rf $(VENV) artifacts *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A stamp is as new as the last installation, which is repeated when pyproject.toml changes.

$(VENV)/pyvenv.cfg:
	@scripts/check-machine '$(PYTHON)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml $(VENV)/pyvenv.cfg
	@echo 'Installing the dependencies into $(VENV) (about 130 MB, once).'
	@$(call install,.)
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.base
	@echo 'Installing what the tests need (torch and Ray among it: 2 GB, on Linux with CUDA several).'
	@$(call install,.[test])
	@touch $@
