# Each target does all of its own set-up; `make help` lists them.
.DEFAULT_GOAL := help
PY := .venv/bin/python

.PHONY: help demo test lint format bench conformance soak schemas pins clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: ## a gateway, a simulated fleet and the live map, on this machine alone
	@scripts/setup run
	@.venv/bin/gateway demo $(ARGS)

test: ## the test suite, against real servers (under 15 minutes)
	@scripts/setup dev
	@scripts/setup servers
	@$(PY) -m pytest $(ARGS)

lint: ## ruff and mypy --strict
	@scripts/setup dev
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: ## let ruff rewrite what it can
	@scripts/setup dev
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

bench: ## positions per second and CPU of each stage, as ratios of one run
	@scripts/setup dev
	@scripts/setup servers
	@$(PY) -m benchmarks $(ARGS)

conformance: ## score the recorded corpora, where ../shared has them
	@scripts/conformance $(ARGS)

soak: ## the long runs: many kills, long outages
	@scripts/setup dev
	@scripts/setup servers
	@SOAK=1 $(PY) -m pytest tests/survival $(ARGS)

schemas: ## write the JSON Schemas in docs/ anew from the model
	@scripts/setup run
	@$(PY) -m gateway.documents docs

pins: ## pin the newest versions that pyproject.toml allows
	@scripts/pin

clean: ## remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
