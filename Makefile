# The words of the workshop: `make` prints them. Needs uv; every word installs what it needs.
.DEFAULT_GOAL := help
.PHONY: help dev simulator lint types architecture quick fast test cloud template scan build arm slow built pr nightly mutants permissions clients pins
unexport PYTHONDONTWRITEBYTECODE   # what one process compiled, the next one finds
export SAM_CLI_TELEMETRY = 0

RUN := uv run --quiet
STEPS := simulator lint types architecture template scan build arm test slow built   # `test` holds what `quick` runs

help:          ## these words
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev:           ## install everything for development into .venv, and the checks before each commit
	uv sync
	@! git rev-parse --git-dir >/dev/null 2>&1 || $(RUN) pre-commit install --allow-missing-config

simulator:     ## the npm package that the local cloud's IAM is compared with; nothing where there is no npm
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --no-package-lock --prefix tests/local_cloud/fixtures/iam_simulate; \
	else echo 'npm is not installed: the local cloud is not compared with iam-simulate'; fi

fast: lint types architecture quick   ## about a minute, for every edit: lint, types, architecture, tests/unit and tests/contract

lint:          ## ruff: its rules, and its format
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types:         ## mypy, strict
	$(RUN) mypy

architecture:  ## who may import whom
	$(RUN) lint-imports

quick:         ## tests/unit and tests/contract
	$(RUN) pytest tests/unit tests/contract

test:          ## every test that is not slow, and the examples in the docstrings; TESTS=tests/handlers for some
	uv run pytest $(TESTS)

cloud:         ## the local cloud's own tests
	$(RUN) pytest tests/local_cloud infra/local_cloud

template:      ## sam validate
	$(RUN) sam validate --lint

scan:          ## cfn-lint with the serverless rules, checkov, cfn-guard: what nobody accepts in tests/scans/accepted.yaml
	$(RUN) python tests/scans

build:         ## sam build
	$(RUN) sam build --cached

arm:           ## sam build for arm64, beside it
	$(RUN) sam build --cached --parameter-overrides Architecture=arm64 --build-dir .aws-sam/arm64 --cache-dir .aws-sam/arm64-cache

slow:          ## the tests that take over 20 seconds each; TESTS=tests/faults for some
	$(RUN) pytest -m slow --dist worksteal $(TESTS)

built:         ## what `make build` and `make arm` left: its libraries, and the stack deployed into the local cloud
	$(RUN) pytest -m built tests/infra

pr:            ## all that must hold before a change lands; says how long each step took
	@for step in $(STEPS); do \
		printf '\n== %s\n' $$step; began=$$(date +%s); \
		$(MAKE) --no-print-directory $$step || { printf '== %s FAILED\n' $$step; exit 1; }; \
		printf '== %s: %ss\n' $$step $$(($$(date +%s) - began)); \
	done

nightly:       ## every fault at each call, simulations and state machines at full size: about two hours
	$(RUN) pytest -m slow --dist worksteal --faults full --simulations full $(or $(TESTS),tests/faults tests/simulation tests/state_machines)

mutants:       ## every safeguard turned off in a copy, and the test that notices
	$(RUN) python tests/mutation

permissions:   ## what the template's roles use, and what they are allowed, by every story; WRITE=1 keeps the witnesses
	$(RUN) python tests/permissions $(if $(WRITE),--write)

clients:       ## clients that others wrote, against `evergreen local up`: half an hour, and a package index; CLIENTS=aws-cli for some
	$(RUN) python tests/clients $(CLIENTS)

# Without addresses; hashes are of every platform's files, the list is for the machines that AWS runs.
HASHED := uv pip compile --quiet --python-platform x86_64-manylinux_2_28 --generate-hashes --no-annotate --no-header $(if $(UPGRADE),--upgrade)

pins:          ## constraints.txt and every requirements.txt: what is new is added, the rest stays; UPGRADE=1 renews everything
	uv pip compile --quiet --universal --group dev --no-annotate --custom-compile-command "make pins" \
		$(if $(UPGRADE),--upgrade) pyproject.toml --output-file constraints.txt
	for file in layers/core/requirements.txt functions/*/requirements.txt; do \
		sed -nE 's/^([A-Za-z0-9._-]+)==.*/\1/p' $$file | $(HASHED) - --python-version 3.13 --constraint constraints.txt --output-file $$file || exit 1; \
	done
	for folder in infra/deploy/training_image infra/deploy/mlflow_image; do \
		$(HASHED) $$folder/requirements.in --python-version 3.13 --output-file $$folder/requirements.txt || exit 1; \
	done
	for folder in layers/core/evergreen/training layers/core/evergreen/serving; do \
		$(HASHED) $$folder/requirements.in --python-version 3.10 --output-file $$folder/requirements.txt || exit 1; \
		sed -i.bak -E 's/^([a-z0-9._-]+==[^ ]+)( ;.*)? \\$$/\1 ; python_version == "3.10" \\/' $$folder/requirements.txt && rm $$folder/requirements.txt.bak; \
	done
