# The two commands of the README, and what stands behind them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
TYPESCRIPT := typescript@5.9.3
PIP_INSTALL := -m pip install -q -c constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Containers set it; then each of the hundred programs that the tests start compiles all of its modules anew.
unexport PYTHONDONTWRITEBYTECODE

COVERED ?= engine

# Tests of code that no clock judges: they run beside the browser's, in the time that these leave over. What is not named
# here runs after them, three files at once: much of it waits for timers and sockets.
UNHURRIED := tests/training tests/engine/backends tests/engine/offline tests/engine/ratio tests/engine/avatar
# Two browsers, a meeting's server and ours want both cores: these run alone.
ALONE := tests/client_web/test_meetings.py
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
PARALLEL := -n 2 --dist loadfile

.PHONY: serve test test-browser test-alone test-unhurried unhurried test-rest kernels check types-web format coverage lock browser extension ffmpeg coturn clean

serve: $(VENV)/.base ## start the server on http://localhost:8080
	@$(BIN)/relight serve

test: $(VENV)/.test browser ffmpeg coturn kernels ## run everything that needs no GPU, real browser included
	@status=0; $(MAKE) --no-print-directory -k -j 2 test-browser test-unhurried || status=1; \
	$(MAKE) --no-print-directory test-alone || status=1; \
	$(MAKE) --no-print-directory test-rest || status=1; exit $$status

# Once, and on both cores: else each of the first tests would wait for a compiler of its own.
kernels: $(VENV)/.test ## compile the CPU engines' kernels
	@$(BIN)/python -c "from engine import make_engine; [make_engine(name).warmup() for name in ('ratio', 'avatar')]"

test-browser:
	@$(PYTEST) tests/client_web --ignore=$(ALONE)

test-alone:
	@$(PYTEST) $(ALONE)

# At the lowest priority, since the browser needs a frame rate. Linux shares a core evenly among sessions, however nice one
# of them is, and Chromium has sessions of its own: these tests get one too, and the session is made nice. Shown when it is
# through, so that lines do not mix.
OWN_SESSION := $(if $(shell command -v setsid),setsid) sh -c '{ echo 19 > /proc/self/autogroup; } 2>/dev/null; exec "$$@"' sh
test-unhurried:
	@mkdir -p build; trap 'kill -- -$$!' INT TERM; status=0; \
	$(OWN_SESSION) nice -n 19 $(MAKE) --no-print-directory unhurried > build/tests.log 2>&1 & \
	wait $$! || status=1; cat build/tests.log; exit $$status

unhurried:
	@status=0; $(PYTEST) $(PARALLEL) tests/lcvd || status=1; $(PYTEST) $(PARALLEL) $(UNHURRIED) || status=1; exit $$status

test-rest:
	@$(PYTEST) -n 3 --dist loadfile $(addprefix --ignore=,tests/client_web tests/lcvd $(UNHURRIED))

check: $(VENV)/.test types-web ## types, lint, format
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The page has no build step: TypeScript only reads it. `.ci/run` does not accept a machine without npm.
types-web: ## type-check the page's modules
	@if command -v npm >/dev/null 2>&1; then $(MAKE) --no-print-directory .node/.ready && \
	echo ".node/node_modules/.bin/tsc -p client_web/jsconfig.json" && \
	.node/node_modules/.bin/tsc -p client_web/jsconfig.json; \
	else echo "SKIPPED: npm is missing, so client_web is not type-checked (install Node.js 18 or newer)" >&2; fi

.node/.ready: Makefile
	@mkdir -p .node
	npm install --prefix .node --no-save --no-package-lock --no-audit --no-fund --silent $(TYPESCRIPT)
	@touch $@

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "relight-live needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }

# Stamps: a second run installs nothing. The base comes without torch. Versions are those of constraints.txt.
$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@# Not compiled: of 2.6 GB a run imports a small part, which Python compiles as it goes.
	$(BIN)/python $(PIP_INSTALL) --no-compile $(TORCH) # first, and alone: nothing else may choose a CUDA build
	$(BIN)/python $(PIP_INSTALL) --no-compile -e '.[lcvd,test]'
	@touch $@ $(VENV)/.base

# COVERED=server asks for another package. Compiled numba kernels count as not reached.
coverage: $(VENV)/.test ## share of engine/ that its tests reach
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/$(COVERED) --cov=$(COVERED)

# The newest releases that pyproject.toml admits, from an environment of their own. Run `make test` before committing
# the result. torch's CUDA packages are left out, since they differ from machine to machine, and so is torch's build tag.
lock: ## renew constraints.txt
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q $(TORCH)
	.venv-lock/bin/python -m pip install -q -e '.[lcvd,test]'
	@{ sed '/^[^#]/,$$d' constraints.txt; .venv-lock/bin/python -m pip freeze --exclude-editable | \
	grep -v -i -E '^(nvidia|cuda|triton|pytorch-triton)|@' | sed 's/+cpu$$//; s/+cu[0-9]*$$//'; } > constraints.new
	mv constraints.new constraints.txt
	rm -rf .venv-lock

# mediapipe 0.10.21, the last release that carries its models, wants numpy below 2: tests compare it from its own room.
.venv-mediapipe/.ready:
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install -q --no-compile mediapipe==0.10.21 numba platformdirs
	@touch $@

browser: ## what the browser tests need: Chromium, and two meetings that others wrote
	@sh tests/install_tools.sh

extension: $(VENV)/.base ## the browser extension, in build/extension and as build/extension.zip
	@$(BIN)/relight extension build/extension

ffmpeg:
	@sh tests/install_ffmpeg.sh

coturn:
	@sh tests/install_coturn.sh

clean:
	rm -rf $(VENV) .venv-mediapipe .venv-lock .node build *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage*
