# Every target installs what it needs into a virtual environment of its own; a fresh clone needs python3 and make only.
PYTHON ?= python3
VENV ?= .venv
REFERENCE_VENV ?= .venv-reference
PEERS_VENV ?= .venv-peers
PYTHONS ?= 3.10 3.11 3.12 3.13
WORKERS ?= 2
ARGS ?=

BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO = build/demo

.DEFAULT_GOAL := help
.PHONY: help demo test check docs package pythons peers parity words silence pauses languages bench load schema stress device clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# One environment. The demo takes little; the development tools are added to it when they are first needed.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[base,ffmpeg]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(REFERENCE_VENV)/.ready: benchmarks/parity/requirements.txt constraints.txt
	$(PYTHON) -m venv $(REFERENCE_VENV)
	$(REFERENCE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r benchmarks/parity/requirements.txt
	@touch $@

$(PEERS_VENV)/.ready: tests/peers/requirements.txt constraints.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r tests/peers/requirements.txt
	@touch $@

demo: $(VENV)/.demo  ## transcribe a real recording with the embedded weights
	$(BIN)/whisperlite tests/data/librivox.wav --output_format all --output_dir $(DEMO)
	@ls $(DEMO)/*

# Small products on tiny networks: one thread is as fast as two, and two processes take half of the time of one.
test: $(VENV)/.dev  ## run the tests (ARGS="-k mel" chooses; WORKERS=0: in one process, for a debugger)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore=tests/test_docs.py -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.dev docs  ## ruff, mypy, the order of the layers, the documentation and all that it shows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_layers.py tests/test_docs.py

docs: $(VENV)/.dev  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

package: $(VENV)/.dev  ## build the wheel and the source archive into dist/ and check them
	@mkdir -p dist
	$(BIN)/python -m tests.distribution build dist

pythons: package  ## test the wheel on every Python (PYTHONS="3.12" chooses; LOWEST=1: oldest dependencies)
	BUILD_PYTHON=$(BIN)/python ARGS="$(ARGS)" .ci/pythons $(PYTHONS)

peers: $(VENV)/.dev $(PEERS_VENV)/.ready  ## compare what the "coming from" pages show, and subtitles, with the other libraries
	OMP_NUM_THREADS=1 PEERS_PYTHON=$(PEERS_VENV)/bin/python $(BIN)/python -m pytest tests/peers -o python_files='peers_*.py' $(ARGS)

parity: $(VENV)/.dev $(REFERENCE_VENV)/.ready  ## compare tokens with openai-whisper's (ARGS=--all: every run)
	$(BIN)/python -m benchmarks.parity $(ARGS)

words: $(VENV)/.dev $(REFERENCE_VENV)/.ready  ## compare times of words with openai-whisper's
	$(BIN)/python -m benchmarks.words $(ARGS)

silence pauses languages bench load: export PEERS_PYTHON = $(PEERS_VENV)/bin/python
silence: $(VENV)/.dev $(REFERENCE_VENV)/.ready $(PEERS_VENV)/.ready  ## count hallucinated and lost words, against two peers
	$(BIN)/python -m benchmarks.silence $(ARGS)

pauses: $(VENV)/.dev $(REFERENCE_VENV)/.ready $(PEERS_VENV)/.ready  ## long pauses between sentences: what is lost, and when it begins
	$(BIN)/python -m benchmarks.pauses $(ARGS)

languages: $(VENV)/.dev $(REFERENCE_VENV)/.ready $(PEERS_VENV)/.ready  ## recordings that change their language
	$(BIN)/python -m benchmarks.languages $(ARGS)

# whisper.cpp's wheel stops at AVX2; built here it uses all that this processor has. Without a compiler the wheel stays.
$(PEERS_VENV)/.native: $(PEERS_VENV)/.ready
	-$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall \
		--no-binary pywhispercpp $$(grep '^pywhispercpp==' tests/peers/requirements.txt)
	@touch $@

# Its first line alone compares with the other libraries; SPEED="--setting greedy-int8" chooses in it. A target that is
# missed in one line does not keep the next from running: the exit status says it at the end.
bench: $(VENV)/.dev $(REFERENCE_VENV)/.ready $(PEERS_VENV)/.native  ## compare speed with four other libraries, and word error rate
	@missed=; \
	$(BIN)/python -m benchmarks.speed $(ARGS) $(SPEED) || missed="$$missed speed"; \
	$(BIN)/python -m benchmarks.wer $(ARGS) || missed="$$missed wer"; \
	$(BIN)/python -m benchmarks.precision $(ARGS) || missed="$$missed precision"; \
	$(BIN)/python -m benchmarks.padding $(ARGS) || missed="$$missed padding"; \
	if [ -n "$$missed" ]; then echo "Missed its targets, or failed:$$missed" >&2; exit 1; fi

load: $(VENV)/.dev $(PEERS_VENV)/.ready  ## the service with 32 clients, beside transcribe_many and a peer's service
	$(BIN)/python -m benchmarks.service $(ARGS)

schema: $(VENV)/.dev  ## test the service against its own OpenAPI document for ten minutes
	$(BIN)/python -m benchmarks.service.schema $(ARGS)

stress: $(VENV)/.dev  ## run the long tests: hours of audio, many threads, a frozen application
	$(BIN)/python -m pytest tests/stress -o python_files='stress_*.py' $(ARGS)

# DEVICE_ARGS="--shape turbo --slots 1 8" chooses what is timed.
device: $(VENV)/.dev  ## tests and speed on a GPU, if there is one: the CPU's tokens, and how near to its limits
	$(BIN)/python -m pytest tests/device -o python_files='device_*.py' $(ARGS)
	$(BIN)/python -m benchmarks.device $(DEVICE_ARGS)

# .parity stays: other libraries took hours for the answers that benchmarks keep there.
clean:  ## remove environments, caches of tools and everything that was built, but not the answers kept in .parity
	rm -rf $(VENV) $(REFERENCE_VENV) $(PEERS_VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
