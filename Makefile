# What a developer runs. `make help` lists it.

SHELL := /bin/bash
CARGO ?= cargo
FUZZ_SECONDS ?= 10
BENCH ?=
CHAOS ?=
RABBITMQ ?=
# Integration tests mostly wait, for RabbitMQ or for a timeout: more of them than cores run at a time.
TEST_THREADS ?= 4
PYTHON := .cache/venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help run test test-fast check setup demo bench chaos docs picture chart manifests fuzz deny conformance image interop site

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

run: ## Serves the chat on http://127.0.0.1:8080, with the embedded broker
	$(CARGO) run --release

test-fast: ## Units and tests in process, which need no RabbitMQ: for every change
	RUST_TEST_THREADS=8 $(CARGO) test --workspace --locked --lib --bins --test inprocess

test: setup ## Every test there is; those with RabbitMQ against 4.0: make test RABBITMQ=4
	RABBITMQ=$(RABBITMQ) RUST_TEST_THREADS=$(TEST_THREADS) scripts/with-rabbitmq $(CARGO) test --workspace --locked
ifndef RABBITMQ
	$(PYTHON) -m pytest tests/chart tests/repository
	scripts/fuzz $(FUZZ_SECONDS)
endif

check: ## Formatting, lints and the documentation of the code
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --locked --no-deps --document-private-items --quiet

setup: ## Installs what the tests and the demo need, as far as missing
	@scripts/setup $(RABBITMQ:%=rabbitmq%)

demo: setup ## RabbitMQ, three replicas, a load balancer and Prometheus, on loopback
	$(CARGO) build --release --locked
	@scripts/demo

bench: ## What a delivery and a connection cost, beside others: make bench BENCH=beside
	@scripts/setup bench
	$(CARGO) bench --locked --bench fanout -- $(BENCH)

chaos: setup ## Breaks everything that can break, and counts: make chaos CHAOS="seed=7"
	RUST_BACKTRACE=0 $(CARGO) test --release --locked --test chaos -- all $(CHAOS)

docs: setup ## Writes the documents that are made from the code and the chart
	$(CARGO) xtask docs
	$(PYTHON) scripts/chart-readme > charts/warren/README.md

picture: setup ## Draws the dashboard into docs/, with the data of a demo of some minutes
	$(CARGO) build --release --locked
	npm ci --prefix scripts/picture --cache .cache/npm --ignore-scripts --no-audit --no-fund
	@node scripts/picture/main.mjs

manifests: setup ## Writes the plain manifests in k8s/, as the chart renders them
	$(PYTHON) scripts/manifests k8s

chart: setup ## The tests of the chart and the manifests alone
	$(PYTHON) -m pytest tests/chart

fuzz: ## Feeds the parsers nonsense: make fuzz FUZZ_SECONDS=600
	scripts/fuzz $(FUZZ_SECONDS)

deny: setup ## Licences, versions, sources and known vulnerabilities of what Warren is built from
	@scripts/deny

conformance: ## Runs the Autobahn fuzzing client; needs a Python 2.7
	scripts/conformance

interop: ## Checks by programs of other projects: actionlint, on the workflows; needs Go 1.25
	@scripts/interop

image: ## Builds the image, with docker, podman or buildah: make image BUILDER=buildah
	@scripts/image

site: ## Builds the documents as a site in .cache/site/book, and checks its links
	@scripts/site
