# Every target sets up .venv by itself; needed: Python 3.11 or later with venv, make, git, and PyPI once.
PYTHON ?= $(firstword $(shell command -v python3.11 python3 python))
BIN := .venv/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml examples/*/pyproject.toml))
PACKAGES := core $(PLUGINS)
DISTRIBUTIONS := core $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
FAST := not slow and not bench
BENCHMARKS := kernels others speed long accuracy
QUICK_kernels := --size 512
QUICK_others := --size 512
QUICK_speed := --size 512 --turns 1
QUICK_long := --size 512 --frames 5 10
QUICK_accuracy := --size 512 --seeds 1 --scenarios dither

.PHONY: help demo test test-all lint docs bench dist clean
help:
	@echo 'make demo      simulate a night, reduce it, compare it with the truth (nirred-demo/)'
	@echo 'make test      fast tests        make test-all  all tests but benchmarks'
	@echo 'make lint      ruff and mypy     make docs      write docs/reference/ from the code'
	@echo 'make bench     tables of accuracy, speed and memory (build/bench/); QUICK=1: small frames'
	@echo 'make dist      wheels and source distributions (dist/)'

.venv/.ready: requirements-dev.txt $(PACKAGES:%=%/pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt $(PACKAGES:%=-e ./%)
	$(BIN)/python -m compileall -q $(PACKAGES:%=%/src)
	touch $@

demo: .venv/.ready
	$(BIN)/nirred demo -o nirred-demo

test: .venv/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m '$(FAST)'

test-all: .venv/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not bench'

# Each package is checked alone, as its users import it.
lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy core/src
	set -e; for package in $(PLUGINS); do $(BIN)/mypy $$package/src; done

docs: .venv/.ready
	$(BIN)/python tools/reference.py

# Half an hour on two idle cores; QUICK=1: a few minutes, small frames, to which the bars do not apply.
# A bar that is missed is said in the tables and is no error.
bench: .venv/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	mkdir -p build/bench
	status=0; $(foreach name,$(BENCHMARKS), \
	    $(BIN)/python benchmarks/$(name).py $(if $(QUICK),$(QUICK_$(name))) --json build/bench/$(name).json \
	        > build/bench/$(name).txt || status=1; \
	    cat build/bench/$(name).txt;) exit $$status

dist: .venv/.ready
	rm -rf dist
	set -e; for package in $(DISTRIBUTIONS); do $(BIN)/python -m build --outdir dist $$package; done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'twine>=6.1'
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf build dist nirred-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
