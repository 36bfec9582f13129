# Every habit in one word. Needs uv (`pip install uv`); `make build` and `make validate` fetch the SAM CLI through it.
RUN := uv run --quiet --no-project --with-requirements tests/requirements.txt --with-editable .
SAM := SAM_CLI_TELEMETRY=0 uv tool run --quiet --from aws-sam-cli==1.170.0 sam
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

.PHONY: test chaos model bench scale smoke lint types format lock lock-check validate build
test:
	$(RUN) pytest

# Thousands of deliveries that are duplicated, delayed, killed and cut off; five to ten minutes. A short one is among the tests.
chaos:
	$(RUN) python -m tests.chaos --events 600 --deliveries 2000 --workers 8 --pace 6

# Everything that two deliveries of an event can do to each other; some minutes. Smaller bounds are among the tests.
model:
	$(RUN) python -m tests.model

# Measures with Lambda's Python, if that is here, and against what npm installs, if that is; some five minutes.
bench:
	@set -eu; python=$$($(find_lambda_python)); [ -z "$$python" ] || export UV_PYTHON="$$python"; \
	$(RUN) python -m tests.benchmarks.cold_start $${python:+--python "$$python"} --json build/cold-start.json; \
	for one in warm end_to_end reference; do \
		echo; $(RUN) python -m tests.benchmarks.$$one --json build/$$one.json; \
	done

# Simulates a burst of events; three minutes.
scale:
	$(RUN) --with matplotlib==3.10.7 python -m tests.benchmarks.scale \
		--json build/scale.json --plot tests/benchmarks/scale.svg

# Checks a stack that is deployed, with your credentials: `make smoke STACK=name`. It reads, and sends harmless events.
smoke:
	@$(RUN) python -m tests.smoke $(if $(PATIENCE),--patience $(PATIENCE)) \
		$(or $(STACK),$(error STACK is not set: make smoke STACK=orchestrator))

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

# Runs the built function in a container, as root on Debian; a minute, and two more the first time.
.PHONY: local-invoke
local-invoke:
	$(RUN) python -m tests.local_invoke --sam '$(SAM)'

# The Lambda runtime that the artifact is built for: Runtime and Architectures in template.yaml.
LAMBDA_PYTHON := 3.13
LAMBDA_ARCHITECTURE ?= arm64

# Lambda's Python 3.13 runs on Amazon Linux 2023 (glibc 2.34), which takes every wheel made for glibc 2.28.
LAMBDA_PLATFORM_arm64 := aarch64-manylinux_2_28
LAMBDA_PLATFORM_x86_64 := x86_64-manylinux_2_28
LAMBDA_PLATFORM = $(or $(LAMBDA_PLATFORM_$(LAMBDA_ARCHITECTURE)),\
	$(error LAMBDA_ARCHITECTURE is $(LAMBDA_ARCHITECTURE): it must be arm64 or x86_64))

artifact = $(or $(ARTIFACTS_DIR),$(error ARTIFACTS_DIR is not set: run "sam build"))

# What a function of your own adds; set these here or in the environment: LAMBDA_PACKAGES=my_consumers sam build
# Folders and modules that the artifact gets beside the package.
LAMBDA_PACKAGES ?=
# Requirements files for what they import; only wheels are installed, and the package's own pins stay as they are.
LAMBDA_REQUIREMENTS ?=
# The AWS services that they use, as boto3 names them, besides those of the package.
LAMBDA_AWS_SERVICES ?=

# The SDK's descriptions of all other services are left out: they are most of its size.
AWS_SERVICES := codebuild dynamodb events secretsmanager sqs $(LAMBDA_AWS_SERVICES)

# Called by `sam build`. uv it must be: pip judges environment markers by the Python that runs it, not by the one it
# installs for. Where uv is missing, pip fetches it for this build alone.
.PHONY: build-OrchestratorFunction
build-OrchestratorFunction:
	@$(call require,LAMBDA_PACKAGES); $(call require,LAMBDA_REQUIREMENTS)
	@set -eu; $(find_uv); \
	install() { \
		"$$uv" pip install --quiet --target "$(artifact)" \
			--python-version $(LAMBDA_PYTHON) --python-platform $(LAMBDA_PLATFORM) \
			--only-binary :all: --no-compile-bytecode --link-mode copy "$$@"; \
	}; \
	install --require-hashes --requirement orchestrator/requirements.txt; \
	if [ -n "$(LAMBDA_REQUIREMENTS)" ]; then \
		install --constraint orchestrator/requirements.txt $(addprefix --requirement ,$(LAMBDA_REQUIREMENTS)); \
	fi
# Console scripts name the Python of the machine that built them, and RECORD holds their hashes: Lambda needs neither.
	@rm -rf "$(artifact)/bin" "$(artifact)"/*.dist-info/RECORD "$(artifact)/.lock"
	@python3 .ci/trim_sdk.py "$(artifact)" --services $(AWS_SERVICES) --packages $(LAMBDA_PACKAGES)
	@cp -RL orchestrator $(LAMBDA_PACKAGES:/=) "$(artifact)"
# The command runs on a person's machine alone.
	@rm -rf "$(artifact)/orchestrator/local" "$(artifact)/orchestrator/cli"
	@find "$(artifact)" -name __pycache__ -prune -exec rm -rf {} +
	@$(compile)
# Lambda runs as another user than the one that built, whose umask may shut others out.
	@chmod -R u=rwX,go=rX "$(artifact)"

define require
for path in $($(1)); do [ -e "$$path" ] || { echo "$(1) names $$path, which is not there" >&2; exit 1; }; done
endef

define find_uv
if command -v uv >/dev/null; then uv=uv; else \
	tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	python3 -m pip install --quiet --target "$$tools" uv; uv="$$tools/bin/uv"; \
fi
endef

# Lambda's disk is read-only: without bytecode in the artifact, each cold start would compile every module anew. With
# unchecked hashes it holds no times, so that two builds give the same bytes; nor does a hash seed or a folder's name.
define compile
set -eu; \
python=$$($(find_lambda_python)); \
if [ -z "$$python" ]; then $(find_uv); python=$$($(fetch_lambda_python)); fi; \
if [ -n "$$python" ]; then \
	PYTHONHASHSEED=0 "$$python" -m compileall -q -j 1 --invalidation-mode unchecked-hash \
		-s "$(artifact)" -p /var/task "$(artifact)"; \
else \
	echo "WARNING: there is no Python $(LAMBDA_PYTHON) here and uv could not fetch one, so the artifact has no bytecode and" \
		"the function starts about twice as slowly: install it or let uv reach its downloads, and build again"; \
fi
endef

# A name on the path may be a shim that starts nothing, or something older: each candidate is asked.
define find_lambda_python
for python in python$(LAMBDA_PYTHON) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(LAMBDA_PYTHON).*/bin/python \
		"$$HOME"/.local/share/uv/python/cpython-$(LAMBDA_PYTHON).*/bin/python$(LAMBDA_PYTHON); do \
	found=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null) || continue; \
	case "$$found" in "$(LAMBDA_PYTHON) "*) echo "$${found#* }"; break;; esac; \
done
endef

# uv downloads a Python that it does not have yet. Where nothing answers it gives up after some 20 seconds.
define fetch_lambda_python
UV_PYTHON_INSTALL_BIN=0 UV_HTTP_TIMEOUT=10 UV_HTTP_RETRIES=1 "$$uv" python install --quiet $(LAMBDA_PYTHON) 2>/dev/null \
	&& "$$uv" python find --managed-python --system $(LAMBDA_PYTHON) 2>/dev/null || true
endef
