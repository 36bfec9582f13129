# Every habit in one word. Needs uv (`pip install uv`); `make build` and `make validate` fetch the SAM CLI through it.
RUN := uv run --quiet --no-project --with-requirements tests/requirements.txt --with-editable .
SAM := SAM_CLI_TELEMETRY=0 uv tool run --quiet --from aws-sam-cli==1.170.0 sam
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

.PHONY: test chaos lint types format lock lock-check validate build
test:
	$(RUN) pytest

# Thousands of deliveries that are duplicated, delayed, killed and cut off; five to ten minutes. A short one is among the tests.
chaos:
	$(RUN) python -m tests.chaos --events 600 --deliveries 2000

lint:
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types:
	$(RUN) mypy

format:
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

# Pins what pyproject.toml asks for; `make lock UPGRADE=--upgrade` takes the newest of everything.
lock:
	$(COMPILE) $(UPGRADE) pyproject.toml --output-file orchestrator/requirements.txt
	$(COMPILE) $(UPGRADE) pyproject.toml --extra local --group dev --constraint orchestrator/requirements.txt \
		--output-file tests/requirements.txt

# Pins that still fit are kept, so any difference means that pyproject.toml has moved on.
lock-check:
	@set -eu; before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; \
	for file in orchestrator tests; do cp $$file/requirements.txt "$$before/$$file"; done; \
	$(MAKE) --silent lock; \
	for file in orchestrator tests; do \
		cmp -s $$file/requirements.txt "$$before/$$file" || lagging="$${lagging:-} $$file/requirements.txt"; \
		cp "$$before/$$file" $$file/requirements.txt; \
	done; \
	if [ -n "$${lagging:-}" ]; then echo "lag behind pyproject.toml (run \`make lock\`):$$lagging" >&2; exit 1; fi

validate:
	$(SAM) validate --lint

build:
	$(SAM) build

# The Lambda runtime that the artifact is built for: Runtime and Architectures in template.yaml.
LAMBDA_PYTHON := 3.13
LAMBDA_ARCHITECTURE := arm64

# Lambda's Python 3.13 runs on Amazon Linux 2023 (glibc 2.34), which takes every wheel made for glibc 2.28.
LAMBDA_PLATFORM_arm64 := aarch64-manylinux_2_28
LAMBDA_PLATFORM_x86_64 := x86_64-manylinux_2_28
LAMBDA_PLATFORM := $(LAMBDA_PLATFORM_$(LAMBDA_ARCHITECTURE))

artifact = $(or $(ARTIFACTS_DIR),$(error ARTIFACTS_DIR is not set: run "sam build"))

# Called by `sam build`. uv it must be: pip judges environment markers by the Python that runs it, not by the one it
# installs for. Where uv is missing, pip fetches it for this build alone.
.PHONY: build-OrchestratorFunction
build-OrchestratorFunction:
	@set -eu; \
	if command -v uv >/dev/null; then uv=uv; else \
		tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
		python3 -m pip install --quiet --target "$$tools" uv; uv="$$tools/bin/uv"; \
	fi; \
	"$$uv" pip install --quiet --target "$(artifact)" \
		--python-version $(LAMBDA_PYTHON) --python-platform $(LAMBDA_PLATFORM) \
		--only-binary :all: --require-hashes --no-compile-bytecode --link-mode copy \
		--requirement orchestrator/requirements.txt
# Console scripts name the Python of the machine that built them, and RECORD holds their hashes: Lambda needs neither.
	@rm -rf "$(artifact)/bin" "$(artifact)"/*.dist-info/RECORD "$(artifact)/.lock"
	@cp -R orchestrator "$(artifact)"
# The command runs on a person's machine alone.
	@rm -rf "$(artifact)/orchestrator/local" "$(artifact)/orchestrator/cli.py"
	@find "$(artifact)" -name __pycache__ -prune -exec rm -rf {} +
# Lambda runs as another user than the one that built, whose umask may shut others out.
	@chmod -R u=rwX,go=rX "$(artifact)"
