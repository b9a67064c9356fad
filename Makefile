# Everything people run. A bare `make` says what there is; what a target needs, it starts or fetches itself.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Look

.PHONY: demo
demo: ## Run everything on examples/demo.yaml, then prove the rows right (until Ctrl-C, or DEMO_SECONDS)
	@dev/demo

.PHONY: kafka
kafka: ## Start a real Kafka in the background
	@dev/kafka up

.PHONY: postgres
postgres: ## Start a real Postgres in the background
	@dev/postgres up

.PHONY: spark
spark: ## Start the processor on examples/pipeline.yaml; no Spark is needed
	@dev/spark

.PHONY: jupyter
jupyter: ## Open the notebook that reads the rows and plots them
	@dev/jupyter up

.PHONY: down
down: ## Stop every server that was started here; the data stays
	@dev/down

##@ Kubernetes

.PHONY: cluster-up
cluster-up: ## Start a real Kubernetes without Docker, with everything on it (root)
	@dev/install cluster

.PHONY: cluster-down
cluster-down: ## End it; nothing of it stays
	@dev/cluster down

.PHONY: kind-up
kind-up: ## The same on kind, where there is Docker
	@dev/install kind

.PHONY: kind-down
kind-down: ## End it
	@kind delete cluster --name retail --kubeconfig .dev/kind.kubeconfig

##@ Work

.PHONY: build
build: ## Build the programs into target/release
	cargo build --release --workspace --bins

.PHONY: docker-build
docker-build: ## Build the image with docker, podman or buildah (CONTAINER_TOOL)
	@dev/image build

.PHONY: test
test: ## Run all tests, on a real Kafka and a real Postgres
	cargo test --workspace
	cargo build --workspace --bins
	dev/jupyter test

.PHONY: fuzz
fuzz: ## Look for bytes that engine and oracle read differently, for FUZZ_SECONDS (nightly compiler)
	@dev/fuzz

.PHONY: e2e
e2e: ## Hold the operator to its promises on that Kubernetes (root)
	dev/e2e

.PHONY: lint
lint: ## Check format, lints, docs, dependencies, chart, scripts
	dev/lint

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: crds
crds: ## Write crds/, and what the chart has of it and of the roles, anew from the code
	@mkdir -p crds
	cargo run -q -p retail-operator -- crd >crds/new
	@mv crds/new crds/retailpipelines.retailpipeline.dev.yaml
	@cp crds/retailpipelines.retailpipeline.dev.yaml charts/retail-pipeline/files/crd.yaml
	cargo run -q -p retail-operator -- rbac >charts/retail-pipeline/files/new
	@mv charts/retail-pipeline/files/new charts/retail-pipeline/files/rbac.yaml

.PHONY: bench
bench: ## Measure the data plane beside other systems (BENCH=quick: without them, in minutes)
	@dev/bench

.PHONY: instructions
instructions: ## Count the instructions of the hot path, against the number on record
	@dev/check-instructions

.PHONY: bench-operator
bench-operator: ## Measure what 1,000 pipelines cost the operator, on a Kubernetes with simulated nodes (root)
	@dev/bench-operator

.PHONY: clean
clean: down ## Stop the servers and delete everything that was built or started here
	cargo clean
	@dev/down --and-delete
