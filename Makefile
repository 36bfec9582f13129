# Every habit in one word. Needs uv (`pip install uv`); `make build` and `make validate` fetch the SAM CLI through it.
RUN := uv run --quiet --no-project --with-requirements tests/requirements.txt --with-editable .
SAM := SAM_CLI_TELEMETRY=0 uv tool run --quiet --from aws-sam-cli==1.170.0 sam
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

# What the artifact is built for: Runtime and Architectures in template.yaml.
LAMBDA_PYTHON := 3.13
LAMBDA_ARCHITECTURE ?= arm64
# What a function of your own adds; set these here or in the environment: LAMBDA_PACKAGES=my_consumers sam build
# Folders and modules that the artifact gets beside the package.
LAMBDA_PACKAGES ?=
# Requirements files for what they import; only wheels are installed, and the package's own pins stay as they are.
LAMBDA_REQUIREMENTS ?=
# The AWS services that they use, as boto3 names them, besides those of the package.
LAMBDA_AWS_SERVICES ?=
export LAMBDA_PYTHON LAMBDA_ARCHITECTURE LAMBDA_PACKAGES LAMBDA_REQUIREMENTS LAMBDA_AWS_SERVICES

.PHONY: help test lint types format lock lock-check validate build local-invoke smoke chaos model bench scale
help: ## list the habits
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## run the tests
	$(RUN) pytest

lint: ## check style and format
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: ## check types, and that imports point one way
	$(RUN) mypy
	$(RUN) lint-imports

format: ## tidy style and format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

lock: ## pin what pyproject.toml asks for; UPGRADE=--upgrade takes the newest of everything
	$(COMPILE) $(UPGRADE) pyproject.toml --output-file orchestrator/requirements.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --extra local --group dev --constraint orchestrator/requirements.txt \
		--output-file tests/requirements.txt

lock-check: ## fail where the pins lag behind pyproject.toml
	@python3 .ci/lock_check.py

validate: ## check template.yaml
	$(SAM) validate --lint

build: ## build the function for deployment
	$(SAM) build

local-invoke: ## run the built function in a container, as root on Debian; a minute, two more the first time
	$(RUN) python -m tests.local_invoke --sam '$(SAM)'

smoke: ## check a deployed stack, STACK=name, with your credentials: it reads, and sends harmless events
	@$(RUN) python -m tests.smoke $(if $(PATIENCE),--patience $(PATIENCE)) \
		$(or $(STACK),$(error STACK is not set: make smoke STACK=orchestrator))

chaos: ## deliver thousands of events that are duplicated, delayed, killed and cut off; five to ten minutes
	$(RUN) python -m tests.chaos --events 600 --deliveries 2000 --workers 8 --pace 6

model: ## go through all that two deliveries of an event can do to each other; some minutes
	$(RUN) python -m tests.model

bench: ## measure cold and warm starts against alternatives, also npm's if installed; some five minutes
	@.ci/bench $(RUN)

scale: ## simulate a burst of events; three minutes
	$(RUN) --with matplotlib==3.10.7 python -m tests.benchmarks.scale \
		--json build/scale.json --plot tests/benchmarks/scale.svg

# Called by .ci/run.
.PHONY: lambda-python
lambda-python:
	@python3 .ci/lambda_python.py $(LAMBDA_PYTHON)

# Called by `sam build`.
.PHONY: build-OrchestratorFunction
build-OrchestratorFunction:
	@python3 .ci/build_artifact.py --python $(LAMBDA_PYTHON) --architecture $(LAMBDA_ARCHITECTURE) \
		"$(or $(ARTIFACTS_DIR),$(error ARTIFACTS_DIR is not set: run "sam build"))"
