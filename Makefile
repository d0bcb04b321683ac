# SPDX-License-Identifier: Apache-2.0
PYTHON ?= python3
VENV := .venv/bin
DEMO_ARGS ?= --episodes 3
SOAK_ARGS ?= --minutes 30 --docs docs/safety.md

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench dagger faults soak coverage mutants format clean fuzz

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## Prepare .venv (seconds when nothing changed)
	@$(PYTHON) tools/setup_venv.py

demo: setup ## The trained policy drives the simulated arm through ROS 2
	@$(VENV)/levine demo $(DEMO_ARGS)

test: setup check ## Lint, types, layers and every test
	@$(VENV)/python tools/run_tests.py

check: setup ## Lint, types and layers only
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/lint-imports
	@$(VENV)/pyright

bench: setup ## Every benchmark; writes its tables in docs/ (an hour)
	@$(VENV)/levine bench chunks --docs docs/benchmarks.md
	@$(VENV)/levine bench delay --docs docs/benchmarks.md
	@$(VENV)/levine bench latency --docs docs/benchmarks.md
	@$(VENV)/levine bench jitter --docs docs/benchmarks.md
	@$(VENV)/levine bench families --docs docs/benchmarks.md
	@$(VENV)/levine bench gate --docs docs/safety.md
	@$(VENV)/levine bench overhead --docs docs/benchmarks.md
	@$(VENV)/levine bench swap --docs docs/benchmarks.md
	@$(VENV)/levine bench recorder --docs docs/recording.md
	@$(VENV)/levine bench takeover --real 50 --docs docs/operator.md

dagger: setup ## Run, intervene, record, retrain, swap, better; needs torch (examples/dagger_so101, 40 minutes)
	@$(VENV)/python examples/dagger_so101/reproduce.py --out dagger_output

soak: setup ## Half an hour on saturated processors: false stops and leaks
	@$(VENV)/levine bench soak $(SOAK_ARGS)

faults: setup ## Every fault many times; writes docs/faults.md (an hour)
	@$(VENV)/levine faults --trials 100 --docs docs/faults.md

fuzz: setup ## Fuzz what reads bundles, a minute; needs `pip install atheris`
	@$(VENV)/python tools/fuzz_bundle.py -max_total_time=60

coverage: setup ## Lines and branches of the safety core that unit tests reach; needs `pip install coverage`
	@$(VENV)/python -m coverage run -m pytest -q test/unit
	@$(VENV)/python -m coverage report

mutants: setup ## Mutation score of the safety core; needs `pip install mutmut` (hours, goes on where it ended)
	@$(VENV)/python -m mutmut run
	@$(VENV)/python tools/mutation_score.py

format: setup ## Format and fix what can be fixed
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

clean: ## Remove .venv and build products (recordings are kept)
	rm -rf .venv build install log *.egg-info
