# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check soak mutation bench gpu-bench builtin-model docs clean

# torch comes first and alone: asked for through another package, pip may fetch gigabytes of CUDA for a CPU machine.
$(VENV)/.product: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.product
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.product
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	touch $@

demo: $(VENV)/.product
	$(BIN)/sdtrain demo

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.file_length

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not soak"

soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m soak --timeout 7200
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/hostile/test_fuzz.py --hypothesis-profile soak --timeout 7200

mutation: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.mutation --jobs $(WORKERS)

bench: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

gpu-bench: $(VENV)/.product
	$(BIN)/python -m benchmarks.gpu

builtin-model: $(VENV)/.product
	$(BIN)/python -m engine.demo.build --out engine/assets/tiny

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --clean

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
