# `make demo` and `make test` need nothing run before them.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
# torch first: on machines where pip offers a CPU build of this version it is taken, and nothing pulls another one later.
TORCH = torch==2.13.0
CASE ?=
# of the tests: one for each core, each with one thread
WORKERS ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)

.PHONY: install demo silicon test lint bench clean
install: $(VENV)/.installed

$(VENV)/.installed: setup.json setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tests,dev]'
	touch $@

demo: install
	AIIDA_PATH=$(CURDIR)/.demo PATH=$(CURDIR)/$(BIN):$$PATH bash examples/demo.sh

# Silicon by pw.x and dx-demo compared with it; installs Quantum ESPRESSO with apt-get if it is not there.
silicon:
	bash workflows/dft_reference_silicon.sh

# Each file as a whole in one worker, in the order of tests/conftest.py; four workers at most, for their memory.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install
	$(BIN)/python examples/benchmarks/run.py $(if $(CASE),--case $(CASE))

clean:
	rm -rf $(VENV) .demo .dft-silicon .active-learning .bench build dist *.egg-info
