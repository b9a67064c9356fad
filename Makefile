# All targets for users and contributors. `make` lists them. Each target installs or starts its own prerequisites.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Try it

.PHONY: demo
demo: ## Run examples/demo.yaml, or PIPELINE, with Kafka and Postgres, then verify its rows (until Ctrl-C; RETAIL_BIN skips the build)
	@dev/demo

.PHONY: jupyter
jupyter: ## Open the notebook that plots the rows
	@dev/jupyter up

.PHONY: spark
spark: ## Run the processor on examples/pipeline.yaml, in place of the tutorial's Spark step
	@dev/spark

##@ Servers on this machine

.PHONY: kafka
kafka: ## Start Kafka in the background
	@dev/kafka up

.PHONY: postgres
postgres: ## Start Postgres in the background
	@dev/postgres up

.PHONY: registry
registry: ## Start a schema registry in the background
	@dev/registry up

.PHONY: down
down: ## Stop all servers of this checkout and keep their data
	@dev/down

##@ Kubernetes

.PHONY: cluster-up
cluster-up: ## Start Kubernetes without Docker, and install everything on it (root)
	@dev/install cluster

.PHONY: cluster-down
cluster-down: ## Delete this Kubernetes
	@dev/cluster down

.PHONY: kind-up
kind-up: ## Start Kubernetes with kind, and install everything on it (Docker)
	@dev/install kind

.PHONY: kind-down
kind-down: ## Delete the kind cluster
	@kind delete cluster --name retail --kubeconfig .dev/kind.kubeconfig

.PHONY: docker-build
docker-build: ## Build the image with docker, podman or buildah (CONTAINER_TOOL)
	@dev/image build

##@ Work on it

.PHONY: build
build: ## Build the programs into target/release
	@dev/build

.PHONY: test
test: ## Run all tests, with Kafka and Postgres
	@dev/test

.PHONY: e2e
e2e: ## Test the operator on the Kubernetes of cluster-up (root)
	@dev/e2e

.PHONY: lint
lint: ## Check format, lints, docs, wording, dependencies, chart, scripts
	@dev/lint

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: crds
crds: ## Generate crds/ and the chart's CRD and roles from the code
	@dev/crds

.PHONY: docs
docs: ## Write the generated pages of docs/reference, and build the site in target/site
	@dev/docs

.PHONY: fuzz
fuzz: ## Fuzz the decoders for FUZZ_SECONDS (nightly compiler)
	@dev/fuzz

.PHONY: trial
trial: ## Play faults on real servers and compare every row (SEED, ROUNDS, MINUTES, KINDS, NEEDED, OUTAGE, TALLY)
	@dev/trial

.PHONY: sbom
sbom: ## Write the image's software bill of materials to .dev/sbom
	@dev/sbom

.PHONY: fresh-machine
fresh-machine: ## Run `make demo` in a new Debian that lacks every prerequisite (root)
	@dev/check-fresh-machine demo

.PHONY: clean
clean: down ## Stop the servers, and delete everything built or started here
	cargo clean
	@dev/down --and-delete

##@ Measure

.PHONY: bench
bench: ## Measure the data plane and comparable systems (BENCH=quick: only the data plane, in minutes)
	@dev/bench

.PHONY: bench-operator
bench-operator: ## Measure the operator with 1,000 pipelines, on a Kubernetes with simulated nodes (root)
	@dev/bench-operator

.PHONY: instructions
instructions: ## Count the instructions of the hot path, and compare with the recorded number
	@dev/check-instructions
