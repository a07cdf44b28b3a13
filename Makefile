# make sample   set-up and a first clip       make test      set-up and the tests (minutes)
# make test-all the slow tests too            make parity    against PyTorch, diffusers, transformers
# make goldens  rewrites tests/golden from those peers      make lint / make format
# make small-model  data, text encoder and every run of configs/small, from nothing (days on two cores)
PYTHON ?= python3
PROMPT ?= slow classical music with guitar and harp
CHECKPOINT ?= small-fast
OUTPUT ?= outputs/sample.wav
VENV := .venv
PARITY := .venv-parity
PYTEST_FLAGS ?= -n 2 --dist loadfile

sample: $(VENV)/.ready
	$(VENV)/bin/python sample.py "$(PROMPT)" --checkpoint "$(CHECKPOINT)" -o "$(OUTPUT)" --spectrogram --overwrite

test: $(VENV)/.ready
	$(VENV)/bin/python -m pytest -m "not slow" --ignore=tests/parity $(PYTEST_FLAGS)

test-all: $(VENV)/.ready
	$(VENV)/bin/python -m pytest --ignore=tests/parity $(PYTEST_FLAGS)

parity: $(PARITY)/.ready
	$(PARITY)/bin/python -m pytest -W default tests/parity $(PYTEST_FLAGS)

small-model: $(VENV)/.ready
	$(MAKE) -f configs/small/Makefile PYTHON=$(VENV)/bin/python small-model

goldens: $(PARITY)/.ready
	$(PARITY)/bin/python -m tests.parity.goldens

lint: $(VENV)/.ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright

format: $(VENV)/.ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..." if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q -U pip
	$(VENV)/bin/python -m pip install -q -e ".[dev]"
	touch $@

# vocos without what it needs: its torchaudio and encodec do not run beside this PyTorch, and the oracle calls neither.
$(PARITY)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install -q -U pip
	$(PARITY)/bin/python -m pip install -q -e ".[dev,parity]"
	$(PARITY)/bin/python -m pip install -q --no-deps vocos==0.1.0
	touch $@

.PHONY: sample test test-all parity goldens small-model lint format
