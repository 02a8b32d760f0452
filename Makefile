# Backscroll's commands; `make help` lists them. Each sets up what it needs.
#
# RocksDB takes a quarter of an hour to compile, so the target folder outlives the clone, and every cargo
# command uses the release profile with the same features of RocksDB: it is compiled once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

export CARGO_TARGET_DIR ?= $(HOME)/.cache/backscroll/target
# Its bin/ holds the tools that setup compiles: wasm-pack, wasm-bindgen, cargo-deny.
export BACKSCROLL_TOOLS ?= $(HOME)/.cache/backscroll
export PATH := $(BACKSCROLL_TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)
# A flag changed is RocksDB compiled again.
unexport RUSTFLAGS

# Of the demo: a chat to import as well, the address, the data folder.
export CHAT ?=
export LISTEN ?= 127.0.0.1:8787
export DATA ?= backscroll-data

part = . tests/tools/parts.sh; must
sources = $(shell find $(1) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/pkg/*' 2>/dev/null)
WASM := wasm/pkg/backscroll_wasm_bg.wasm
DIST := wasm/dist/backscroll.wasm
PAGE := web-demo/dist/index.html

BIN := $(CARGO_TARGET_DIR)/release/backscroll

.NOTPARALLEL:
.PHONY: help setup setup-relay setup-demo relay wasm web demo test test-long bench figures fuzz audit check-chat

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## what building and testing need (apt, rustup, cargo, npm); the other targets do it themselves
	@tests/tools/setup.sh test

setup-relay setup-demo: setup-%:
	@tests/tools/setup.sh $*

relay: setup-relay ## the binary `backscroll`
	@$(part) relay cargo build --release --locked -p backscroll-relay

wasm: $(WASM) ## the npm package `backscroll`, with its engine in Wasm

$(WASM): $(call sources,core wasm) Cargo.toml Cargo.lock | setup-demo
	@$(part) "engine in wasm" wasm-pack build wasm --mode no-install --target web \
	  --profile wasm-release --no-opt --no-pack --out-dir pkg -- --locked
	@$(part) "npm package" npm run --prefix wasm build
	@touch $@
	@echo "$(DIST): $$(stat -c %s $(DIST)) bytes, $$(gzip -9c $(DIST) | wc -c) gzip"

web: $(PAGE) ## the demo's page

$(PAGE): $(WASM) $(call sources,web-demo) | setup-demo
	@$(part) page npm run --prefix web-demo build
	@touch $@

demo: relay web ## a million messages and live chat at one address; CHAT=file.jsonl.gz adds a real chat
	@BACKSCROLL_BIN=$(BIN) tests/tools/demo.sh

test: setup ## everything that CI checks
	@BACKSCROLL_BIN=$(BIN) BACKSCROLL_SETUP_DONE=1 tests/tools/test.sh

test-long: setup ## property tests with 20 times the cases, tests on a million messages; hours
	@$(part) build cargo build --release --locked --workspace --all-targets
	@$(part) "long tests" env PROPTEST_CASES=5120 RUNS=3000 BACKSCROLL_LONG=1 BACKSCROLL_BIN=$(BIN) \
	  cargo test --release --locked --workspace

bench: setup-relay ## the benchmarks
	@$(part) benchmarks cargo bench --profile release --locked --workspace

figures: relay ## the relay's figures beside their floors, as a table; about four minutes, on a quiet machine
	@BACKSCROLL_BIN=$(BIN) node tests/tools/figures.mjs

TIME ?= 60
fuzz: ## fuzzes core, TIME=60 seconds for each of six targets; needs a nightly compiler
	@$(part) fuzzing core/fuzz/run.sh $(TIME)

audit: setup ## known vulnerabilities of the dependencies, where the lists can be reached
	@tests/tools/audit.sh

check-chat: relay ## import and export a chat and compare; CHAT=file.jsonl.gz or the excerpt in tests/data
	@$(part) check-chat env BACKSCROLL_BIN=$(BIN) node tests/tools/check-chat.mjs $(CHAT)
