# One command on a fresh machine: `make demo` or `make test` sets up everything in .venv first.
#
#   make demo                   4 shapes from pictures, 4 from sentences, into out/demo
#   make test                   every check that continuous integration runs
#   make WORKERS=8 test         the tests on eight processes instead of two
#   make PYTHON=python3.12 CONSTRAINTS= demo     another Python, newest allowed libraries
#   make TORCH=default demo     torch as the package index has it (TORCH=cpu: without CUDA)
#   make locked test            the files of constraints.lock, each checked by its SHA-256
#
# PYTHON must be 3.11 or newer with the venv module. CONSTRAINTS names the file of tested versions.
# Without an NVIDIA GPU, torch's own wheels for processors are taken where they are offered: those of
# the package index bring 3.2 GB of CUDA libraries on Linux.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
CONSTRAINTS ?= constraints.txt
OUT ?= out
PYTEST_ARGS ?=
WORKERS ?= 2
FIND_PYTHON := for p in python3.11 python3 python3.12 python3.13 python3.14 python; do \
  "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
  && { echo "$$p"; break; }; done; true
PYTHON ?= $(shell $(FIND_PYTHON))
FIND_TORCH := if [ "$$(uname -s)" != Linux ] || nvidia-smi -L >/dev/null 2>&1; then \
  echo default; else echo cpu; fi
TORCH ?= $(shell $(FIND_TORCH))
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# Waiting threads sleep, so that a second busy process does not hold us up (docs/performance.md).
export OMP_WAIT_POLICY ?= PASSIVE

BIN := $(VENV)/bin
PIN := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SETUP_FILES := pyproject.toml $(CONSTRAINTS)
# What torch needs comes from the usual index afterwards; an index out of reach costs seconds.
FROM_CPU_INDEX := --no-deps --retries 0 --timeout 5 --index-url $(TORCH_CPU_INDEX)
CPU_TORCH := $(PIP) $(PIN) $(FROM_CPU_INDEX) torch
LOCKED := $(PIP) --require-hashes --no-deps --no-build-isolation

.PHONY: help install develop locked demo test lint torture format docs clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

install: $(VENV)/.installed  ## set up .venv with the package and what it needs to run

develop: $(VENV)/.developed  ## add the tools that tests and checks need, and the commit hooks
	@if [ -d .git ]; then $(BIN)/pre-commit install >/dev/null; fi

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "g3pt needs Python 3.11 or newer with its venv module; none was" \
	  "found. Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --help | grep -q -- --group || $(PIP) --upgrade 'pip>=25.1'

$(VENV)/.installed: $(SETUP_FILES) | $(BIN)/python
	@echo "installing g3pt and its libraries (a few minutes the first time)"
	@case "$(TORCH)" in \
	  cpu) $(CPU_TORCH) || echo "$(TORCH_CPU_INDEX) offers no torch here: taking the usual one";; \
	  default) ;; \
	  *) echo "TORCH is cpu or default, got $(TORCH)" >&2; exit 2;; esac
	@$(PIP) $(PIN) --editable .
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	@echo "installing the development tools"
	@$(PIP) $(PIN) --editable '.[app,mcp,data,cluster,eval,hub,export,ray-serve,usd]' --group dev
	@touch $@

# What is built from source there (GPUtil) finds the setuptools of the lock and asks for nothing else.
locked: | $(BIN)/python  ## set up .venv from constraints.lock (Linux x86_64, Python 3.11)
	@echo "installing the files of constraints.lock"
	@$(LOCKED) $(FROM_CPU_INDEX) --requirement <(grep ^torch== constraints.lock) \
	  || echo "$(TORCH_CPU_INDEX) offers no such torch here: trying the usual one"
	@$(LOCKED) --requirement <(grep ^setuptools== constraints.lock)
	@$(LOCKED) --requirement constraints.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check
	@touch $(VENV)/.installed $(VENV)/.developed

demo: $(VENV)/.installed  ## pictures and sentences to meshes, with a picture of the steps
	@mkdir -p $(OUT)/demo
	@echo 'g3pt generate --image examples/images/*.png --preview $(OUT)/demo/images.png -o $(OUT)/demo'
	@$(BIN)/g3pt generate --image examples/images/*.png \
	  --preview $(OUT)/demo/images.png -o $(OUT)/demo
	@sentences=(); while IFS= read -r line; do \
	  if [ -n "$$line" ]; then sentences+=(--text "$$line"); fi; done < examples/prompts.txt; \
	echo "g3pt generate $${sentences[*]} --preview $(OUT)/demo/sentences.png -o $(OUT)/demo"; \
	$(BIN)/g3pt generate "$${sentences[@]}" \
	  --preview $(OUT)/demo/sentences.png -o $(OUT)/demo
	@echo "look at $(OUT)/demo/images.png and $(OUT)/demo/sentences.png"

lint: $(VENV)/.developed  ## style, types, import layers, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

# Every commit has seeds of its own.
torture: $(VENV)/.developed  ## 2,000 damaged and malicious files and requests at every door
	OMP_NUM_THREADS=1 $(BIN)/g3pt torture --workers $(or $(filter-out 0,$(WORKERS)),1) \
	  --seed $$(( $$(git rev-list --count HEAD 2>/dev/null || echo 0) * 1000 ))

test: lint torture  ## lint, torture, then every test that runs on a CPU without network
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)

format: $(VENV)/.developed  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.developed  ## the documentation pages into site/
	@$(PIP) $(PIN) --group docs
	$(BIN)/mkdocs build --strict

clean:  ## remove what was made here, .venv included
	rm -rf $(VENV) $(OUT) site dist build .pytest_cache .ruff_cache .hypothesis
