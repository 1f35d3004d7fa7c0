# Needs Rust, Python 3, make and bash; `make help` lists what it can do. Python
# tools are installed, pinned, into .venv/ when they are first needed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Cargo builds in parallel by itself; what make does is a sequence.
CARGO ?= cargo
SAM_ENV := env -u AWS_PROFILE AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0
TEMPLATES := template.yaml infra/athena.yaml
SIEM_TEMPLATES := $(wildcard infra/siem/*.yaml infra/siem/*/*.yaml)
# Where the function runs, and so what the dependency checks look at.
TARGETS := --target x86_64-unknown-linux-gnu --target aarch64-unknown-linux-gnu
# Starts the local stack for the rest of a command. One that was there before is
# left running.
WITH_STACK := if ! (exec 3<>/dev/tcp/127.0.0.1/4566) 2>/dev/null; then \
		trap 'tests/stack/stop >/dev/null || true' EXIT; \
	fi; \
	tests/stack/start;

.PHONY: help
help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Collect simulated events into a local lake; no AWS, no 1Password
	@if [[ ! -x $${CARGO_TARGET_DIR:-target}/debug/oplake ]]; then \
		echo "==> demo: the first build compiles about 370 crates, which takes minutes;"; \
		echo "          later ones take seconds"; \
	fi
	@$(CARGO) run --locked -p oplake-cli --bin oplake -- demo

ARCH ?= x86_64
TARGET := $(if $(filter arm64,$(ARCH)),aarch64,x86_64)-unknown-linux-gnu
# The same bytes, wherever the clone and the home directory are; parted by a
# character that no path has.
REPRODUCIBLE = CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$$PWD=/src"$$'\x1f'"--remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo"

.PHONY: build
build: .venv/sam/requirements.txt .venv/build/requirements.txt ## Build the function for Lambda; ARCH=arm64 for the other processor
	@sysroot=$$(rustc --print sysroot); \
	if [[ ! -d $$sysroot/lib/rustlib/$(TARGET) ]]; then \
		command -v rustup >/dev/null || { echo "error: this Rust has no standard library for $(TARGET): install it, or use rustup" >&2; exit 1; }; \
		rustup target add $(TARGET); \
	fi
	@echo "==> build: for $(ARCH); the first one compiles all dependencies optimised, which takes minutes"
	@PATH="$$PWD/.venv/build/bin:$$PATH" $(REPRODUCIBLE) $(SAM_ENV) .venv/sam/bin/sam build --parameter-overrides Architecture=$(ARCH)

.PHONY: package
package: build ## Make what a release holds, in dist/; ARCH=arm64 for the other processor
	@infra/package --arch $(ARCH)

# A JSON object, or a list as CloudFormation's. Parameters that are not given keep
# what they were, but for the processor.
PARAMETERS ?=
# SAM reads parameters from YAML, which JSON is, and objects alone.
AS_OBJECT := import json, sys; told = json.load(open(sys.argv[1])); \
	told = told if isinstance(told, dict) else {one["ParameterKey"]: one["ParameterValue"] for one in told}; \
	json.dump({key: value for key, value in told.items() if key != "Architecture"}, open(".aws-sam/parameters.yaml", "w"))

.PHONY: deploy
deploy: ## Build, check and deploy; PARAMETERS=FILE.json for others than the defaults, ARCH=arm64
	@if [[ -n "$(PARAMETERS)" ]]; then \
		echo "==> deploy: is what $(PARAMETERS) names fit for it?"; \
		$(CARGO) run --locked --quiet -p oplake-cli --bin oplake -- check --stack-parameters "$(PARAMETERS)"; \
	fi
	@$(MAKE) --no-print-directory build
	@if [[ -n "$(PARAMETERS)" ]]; then python3 -c '$(AS_OBJECT)' "$(PARAMETERS)"; fi
	@SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam deploy --parameter-overrides $(if $(PARAMETERS),file://.aws-sam/parameters.yaml) Architecture=$(ARCH)

.PHONY: splunk-app
splunk-app: ## Pack the Splunk app of infra/siem/splunk into dist/
	@infra/siem/splunk/package.py

.PHONY: ci
ci: fmt core-is-pure template clippy doc test ## Run every check, cheapest first, as CI does

.PHONY: fmt
fmt: ## Check the formatting
	@echo "==> fmt: is everything formatted as rustfmt.toml says?"
	@$(CARGO) fmt --all --check

# `cargo tree` itself fails if Cargo.lock is out of date.
.PHONY: core-is-pure
core-is-pure: ## Check that the core knows nothing of AWS, and that there is one TLS stack
	@echo "==> core-is-pure: does oplake-core do without AWS, and are programs built with one TLS stack?"
	@tree() { $(CARGO) tree --locked --edges normal,build --prefix none $(TARGETS) --package "$$@" | sed 's/ (.*//' | sort -u; }; \
	fail() { echo "error: $$1" >&2; exit 1; }; \
	for features in --no-default-features --all-features; do \
		core=$$(tree oplake-core "$$features"); \
		if found=$$(grep -E '^(aws-|lambda)' <<<"$$core"); then \
			fail "oplake-core with $$features must not depend on:"$$'\n'"$$found"; \
		fi; \
	done; \
	for program in collector oplake-cli; do \
		all=$$(tree "$$program" --all-features); \
		if found=$$(grep -E '^(openssl-sys|native-tls|aws-lc-sys) ' <<<"$$all"); then \
			fail "$$program must not depend on a TLS stack beside rustls with ring:"$$'\n'"$$found"; \
		fi; \
		found=$$(grep '^rustls ' <<<"$$all" || true); \
		if [[ $$(wc -l <<<"$$found") != 1 || -z $$found ]]; then \
			fail "$$program must depend on rustls in exactly one version, and depends on: $${found:-none}"; \
		fi; \
	done

# Neither command asks the network for anything: `sam validate` without --lint
# would make an AWS client, which wants a region.
.PHONY: template
template: .venv/sam/requirements.txt .venv/policy/requirements.txt ## Check the templates with SAM CLI, cfn-lint and checkov
	@echo "==> template: are the templates what SAM and CloudFormation accept?"
	@for template in $(TEMPLATES); do $(SAM_ENV) .venv/sam/bin/sam validate --lint --template "$$template"; done
	@.venv/sam/bin/cfn-lint $(TEMPLATES) $(SIEM_TEMPLATES)
	@infra/athena/generate.py --check
	@.venv/policy/bin/checkov --framework cloudformation --compact --quiet --skip-download $(TEMPLATES:%=--file %) $(SIEM_TEMPLATES:%=--file %)

.PHONY: clippy
clippy: ## Lint the Rust code; a warning is an error
	@echo "==> clippy: is there anything to say against the code?"
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: doc
doc: ## Build the documentation of the code; a warning is an error
	@echo "==> doc: does the documentation build, with every link in place?"
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

.PHONY: test
test: ## Run every suite, with the local stack
	@echo "==> test: starting the local stack"
	@tests/stack/setup
	@$(WITH_STACK) \
	echo "==> test: the examples in the documentation"; \
	$(CARGO) test --locked --workspace --doc; \
	echo "==> test: the suites"; \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --workspace; \
	else \
		$(CARGO) test --locked --workspace --lib --bins --tests --no-fail-fast; \
	fi
	@$(MAKE) --no-print-directory test-athena test-deploy test-siem

# All with the programs that the suites have built.
.PHONY: test-athena
test-athena: .venv/athena/requirements.txt
	@echo "==> test-athena: do the views and the saved queries find what the collector writes?"
	@programs=$${CARGO_TARGET_DIR:-target}/debug; \
	OPLAKE=$$programs/oplake EVENTS_API_SIMULATOR=$$programs/events-api-simulator \
		.venv/athena/bin/python -m pytest tests/athena
	@echo "==> test-athena: do the costs follow from what was counted?"
	@.venv/athena/bin/python -m pytest --quiet tests/cost

.PHONY: test-deploy
test-deploy: .venv/sam/requirements.txt .venv/deploy/requirements.txt
	@echo "==> test-deploy: does the stack deploy, run, update, go and come back?"
	@tests/stack/setup
	@programs=$$(realpath $${CARGO_TARGET_DIR:-target})/debug; cd tests/deploy; \
	COLLECTOR=$$programs/collector EVENTS_API_SIMULATOR=$$programs/events-api-simulator \
		../../.venv/deploy/bin/python -m pytest

.PHONY: test-siem
test-siem: .venv/sam/requirements.txt .venv/deploy/requirements.txt
	@echo "==> test-siem: does each SIEM get every event, as its documentation says that it reads?"
	@tests/stack/setup
	@programs=$$(realpath $${CARGO_TARGET_DIR:-target})/debug; cd tests/siem; \
	COLLECTOR=$$programs/collector OPLAKE=$$programs/oplake EVENTS_API_SIMULATOR=$$programs/events-api-simulator \
		../../.venv/deploy/bin/python -m pytest

# Not by nextest, which ends a test after minutes. A schedule takes two cores
# about 10 ms.
.PHONY: soak
soak: ## Simulate a million schedules; OPLAKE_SCHEDULES=n for another number
	@OPLAKE_SCHEDULES=$${OPLAKE_SCHEDULES:-1000000} $(CARGO) test --locked -p oplake-tests --test simulation -- --nocapture

.PHONY: chaos
chaos: ## Upset real processes for 200 rounds; OPLAKE_ROUNDS=n, OPLAKE_SEED=n for others
	@tests/stack/setup
	@$(WITH_STACK) \
	$(CARGO) build --locked -p collector -p oplake-cli --bins; \
	OPLAKE_ROUNDS=$${OPLAKE_ROUNDS:-200} $(CARGO) test --locked -p oplake-tests --test chaos -- --nocapture

# `--quick` for one small run of each, which writes nothing.
BENCH ?=

.PHONY: bench
bench: ## Measure, and write the tables of docs/benchmarks.md; BENCH=--quick to try it
	@$(CARGO) build --locked --release -p collector -p oplake-cli -p events-api-simulator --bins
	@tests/stack/setup
	@$(WITH_STACK) \
	tests/bench/run.py $(BENCH)

.PHONY: bench-check
bench-check: ## Count the instructions of the pipeline against the baseline; needs valgrind
	@tests/bench/check.py

.PHONY: stack
stack: ## Start the local stack and leave it running
	@tests/stack/start

.PHONY: stack-stop
stack-stop: ## Stop the local stack
	@tests/stack/stop

.PHONY: clean
clean: clean-venv ## Remove what was built, installed and collected here
	@$(CARGO) clean
	@rm -rf .aws-sam .stack demo-lake dist

.PHONY: clean-venv
clean-venv: stack-stop ## Remove the Python tools, stopping the local stack
	@rm -rf .venv

# The copy of the requirements is made last, so that an interrupted
# installation is made again.
.venv/sam/requirements.txt: infra/requirements-lint.txt
.venv/build/requirements.txt: infra/requirements-build.txt
.venv/policy/requirements.txt: infra/requirements-policy.txt
.venv/athena/requirements.txt: tests/athena/requirements.txt
.venv/deploy/requirements.txt: tests/deploy/requirements.txt tests/athena/requirements.txt
.venv/sam/requirements.txt .venv/build/requirements.txt .venv/policy/requirements.txt .venv/athena/requirements.txt .venv/deploy/requirements.txt:
	@echo "installing the tools of $< into $(@D)"
	@rm -rf $(@D)
	@python3 -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --requirement $<
	@cp $< $@
