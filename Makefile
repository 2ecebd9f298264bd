# The two commands of the README, and what stands behind them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: serve test check format browser clean

serve: $(VENV)/.base ## start the server on http://localhost:8080
	@$(BIN)/relight serve

test: $(VENV)/.test browser ## run everything that needs no GPU, real browser included
	@# The browser alone, since it needs a frame rate; then the rest in two workers, a file each, one thread for torch.
	export OMP_NUM_THREADS=1; status=0; \
	$(BIN)/python -m pytest tests/client_web || status=1; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/client_web || status=1; \
	exit $$status

check: $(VENV)/.test ## types, lint, format
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "relight-live needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }

# Stamps: a second run installs nothing. The base comes without torch.
$(VENV)/.base: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q torch==2.13.0 # first, and alone: nothing else may choose a CUDA build
	$(BIN)/python -m pip install -q -e '.[lcvd,test]'
	@touch $@ $(VENV)/.base

# mediapipe 0.10.21, the last release that carries its models, wants numpy below 2: tests compare it from its own room.
.venv-mediapipe/.ready:
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install -q mediapipe==0.10.21 numba platformdirs
	@touch $@

browser:
	@sh tests/install_chromium.sh

clean:
	rm -rf $(VENV) .venv-mediapipe build *.egg-info .pytest_cache .mypy_cache .ruff_cache
