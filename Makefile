# Two commands do everything on a fresh machine: `make run` and `make test`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv/bin

.PHONY: help setup run test lint types format docs bench serve lab clean

help: ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: ## create .venv and install everything (quick when nothing changed)
	@tools/setup.sh

run: setup ## the main job on sample images, through the queue and papermill
	@$(VENV)/dti quickstart

test: setup ## the whole test suite (installs Debian's redis-server, chromium and spiped where it may)
	@tools/test-programs.sh
	@$(VENV)/python -m pytest $(PYTEST_ARGS)

lint: setup ## style and format checks
	@$(VENV)/ruff check . && $(VENV)/ruff format --check .

types: setup ## static types
	@$(VENV)/mypy

format: setup ## rewrite the code in the house format
	@$(VENV)/ruff check --fix . && $(VENV)/ruff format .

docs: setup ## the pages of docs/ as a site in build/site; warnings are errors
	@$(VENV)/python tools/settings_reference.py
	@$(VENV)/python -m mkdocs build --strict --quiet --site-dir build/site

bench: setup ## time and memory of a training step, and what whole runs cost (minutes)
	@$(VENV)/dti-sprites bench speed --quick
	@$(VENV)/python tools/capacity.py $(CAPACITY_ARGS)

serve: setup ## the server with the page at /dti/, without JupyterLab
	@$(VENV)/dti serve

lab: setup ## JupyterLab with the extension
	@$(VENV)/jupyter lab --config=jupyter_config.py

clean: ## remove build and test leavings (not data, not .venv)
	@rm -rf build dist dti-sprites/build dti-sprites/dist .pytest_cache .mypy_cache .ruff_cache .hypothesis test-artifacts
