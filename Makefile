# Commands for development. They need uv (`pip install uv`); `make build` and `make validate` fetch the SAM CLI with it.
RUN := uv run --quiet --no-project --with-requirements tests/requirements.txt --with-editable .
SAM := SAM_CLI_TELEMETRY=0 uv tool run --quiet --from aws-sam-cli==1.170.0 sam

# The artifact's target: Runtime and Architectures in template.yaml.
LAMBDA_PYTHON := 3.13
LAMBDA_ARCHITECTURE ?= arm64
# Additions to the artifact; set them here or in the environment: LAMBDA_PACKAGES=my_consumers sam build
# Folders and modules to add.
LAMBDA_PACKAGES ?=
# Requirements files of these; only wheels are installed, and the package's own pins stay as they are.
LAMBDA_REQUIREMENTS ?=
# AWS services that these use, by boto3's names, besides those of the package.
LAMBDA_AWS_SERVICES ?=
export LAMBDA_PYTHON LAMBDA_ARCHITECTURE LAMBDA_PACKAGES LAMBDA_REQUIREMENTS LAMBDA_AWS_SERVICES

.PHONY: help test lint types format lock lock-check validate build starter contract bridge local-invoke smoke chaos mutations model bench picture tenants scale
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## run the tests
	$(RUN) pytest

lint: ## check style and format
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: ## check types, and that imports point one way
	$(RUN) mypy
	$(RUN) lint-imports

format: ## fix style and format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

lock: ## pin the dependencies of pyproject.toml; UPGRADE=--upgrade takes the newest versions
	@python3 .ci/lock.py $(UPGRADE)

lock-check: ## fail if the pins do not match pyproject.toml
	@python3 .ci/lock.py --check

validate: ## check template.yaml
	$(SAM) validate --lint

build: ## build the function for deployment
	$(SAM) build

starter: ## test, build and run a project of `orchestrator init`, made with the built wheel; 2 minutes
	$(RUN) python -m tests.starter --sam '$(SAM)'

contract: ## have @asyncapi/parser check the printed contracts; needs npm; half a minute the first time
	$(RUN) python -m tests.contract

bridge: ## kill a BullMQ bridge at every point; needs redis-server and npm; 1 minute, 2 the first time
	$(RUN) python -m tests.bridge

local-invoke: ## run the built function in containers; needs root on Debian; 1 minute, 3 the first time
	$(RUN) python -m tests.local_invoke --sam '$(SAM)'

smoke: ## check a deployed stack, STACK=name, with your credentials; it reads, and sends harmless events
	@$(RUN) python -m tests.smoke $(if $(PATIENCE),--patience $(PATIENCE)) \
		$(or $(STACK),$(error STACK is not set: make smoke STACK=orchestrator))

chaos: ## deliver thousands of events with duplicates, delays, kills and lost answers; some 20 minutes
	$(RUN) python -m tests.chaos --events 2000 --deliveries 5000 --workers 24 --pace 2.7 --lock 6 --room 16 \
		--slow 0.02 --killing 0.01

mutations: ## hand 100,000 mutated events to the handler; 6 to 17 minutes on two cores
	$(RUN) python -m tests.mutations

model: ## check every way in which two deliveries of an event can interleave; a few minutes
	$(RUN) python -m tests.model

bench: ## compare starts, events and requests with alternatives, also npm's if installed; about 5 minutes
	@.ci/bench $(RUN)

picture: ## draw README's picture of a terminal again
	$(RUN) python -m tests.docs.picture

tenants: ## ask the operators' commands about a hundred tenants in mixed states; 1 minute
	TENANTS=100 $(RUN) pytest -n 0 tests/cli/test_tenants.py

scale: ## simulate bursts of events; 3 to 8 minutes
	$(RUN) --with matplotlib==3.10.7 python -m tests.benchmarks.scale \
		--json build/scale.json --plot tests/benchmarks/scale.svg

# Called by .ci/run.
.PHONY: lambda-python
lambda-python:
	@python3 .ci/lambda_python.py $(LAMBDA_PYTHON)

# Called by `sam build`.
.PHONY: build-OrchestratorFunction
build-OrchestratorFunction:
	@python3 .ci/build_artifact.py --package orchestrator --python $(LAMBDA_PYTHON) --architecture $(LAMBDA_ARCHITECTURE) \
		"$(or $(ARTIFACTS_DIR),$(error ARTIFACTS_DIR is not set: run "sam build"))"
