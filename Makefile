# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DATA ?= synthetic:scenes
PRESET ?= release
FUZZ_SECONDS ?= 10
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc)
export CTEST_PARALLEL_LEVEL ?= $(shell nproc)

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: ## install what is missing: Debian packages, .venv with LibTorch (the torch 2.13.0 wheel)
	@tools/setup.sh

build: setup ## build/release/lacuna
	@test -f build/$(PRESET)/build.ninja || cmake --preset $(PRESET)
	@cmake --build --preset $(PRESET)

demo: build ## pre-train, evaluate and report in minutes (DATA=path for your own pictures)
	@tools/demo.sh "$(DATA)"

test: build ## build and run all tests
	@ctest --preset $(PRESET)

quick-test: build ## the tests that take seconds
	@ctest --preset $(PRESET) -L fast

bench: build ## beside peers: step, data, start-up, growth (minutes); tables, and bench/results/*.json
	@tools/setup_peers.sh
	@bench/run.sh

asan: sanitizer-runtime ## build with address and undefined-behaviour sanitizers and run the quick tests
	@$(MAKE) --no-print-directory build PRESET=asan
	@ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0 ctest --preset asan

tsan: sanitizer-runtime ## build with the thread sanitizer and run the tests of what uses threads
	@$(MAKE) --no-print-directory build PRESET=tsan
	@TSAN_OPTIONS=suppressions=$(CURDIR)/tools/tsan.supp ctest --preset tsan

fuzz: sanitizer-runtime ## run each libFuzzer target for FUZZ_SECONDS
	@$(MAKE) --no-print-directory build PRESET=fuzz
	@fuzz/run.sh $(FUZZ_SECONDS)

sanitizer-runtime:
	@test -n "$$(find /usr/lib/llvm-16/lib/clang -name 'libclang_rt.asan*' 2>/dev/null | head -1)" || \
	  { echo "clang's sanitizers are missing; apt-get install libclang-rt-16-dev" >&2; exit 2; }

docs: ## build/docs/html: the public headers by Doxygen; a warning is an error
	@command -v doxygen >/dev/null || { echo "make docs: doxygen is missing; apt-get install doxygen" >&2; exit 2; }
	@mkdir -p build/docs && doxygen docs/api/Doxyfile
	@echo "docs: build/docs/html/index.html"

format: ## clang-format on every source file
	@git ls-files '*.h' '*.cpp' | xargs clang-format-16 -i

lint: build ## clang-format in check mode, then clang-tidy
	@git ls-files '*.h' '*.cpp' | xargs clang-format-16 --dry-run --Werror
	@tools/tidy.py

clean: ## remove build/ (runs/ and .venv/ stay)
	@rm -rf build

.PHONY: help setup build demo test quick-test bench asan tsan fuzz sanitizer-runtime docs format lint clean
