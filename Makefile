# Two commands: `make demo` and `make test`. Each makes .venv on first use and reuses it afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test explore lint clean

demo: $(INSTALLED)
	$(BIN)/python -m earthinstruct evaluate --method instructsam --output runs/demo --overwrite

test: $(INSTALLED)
	$(BIN)/python -m pytest

# `make test` gives random tests the same examples each time; this gives them new ones, under SEEDS new seeds
SEEDS ?= 20
EXPLORE := $(BIN)/python -m pytest -m hypothesis --hypothesis-profile=explore --hypothesis-seed
explore: $(INSTALLED)
	@failed=; \
	for seed in $$($(BIN)/python -c 'import random; print(*random.sample(range(10**9), $(SEEDS)))'); do \
		echo "== seed $$seed"; \
		$(EXPLORE)=$$seed || failed="$$failed $$seed"; \
	done; \
	for seed in $$failed; do echo "To repeat a failure: $(EXPLORE)=$$seed"; done; \
	test -z "$$failed"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs

$(INSTALLED): pyproject.toml methods/models/pyproject.toml methods/instructsam/pyproject.toml methods/baselines/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "EarthInstruct needs Python 3.11 or newer; name one with make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".[test,lint,ray]" -e "methods/models[test]" -e "methods/instructsam[test]" -e "methods/baselines[test]"
	# sam2 comes as source that needs the torch above: without isolation it builds in seconds, not on a second torch
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --no-build-isolation -e "methods/models[sam2,lvlm]"
	touch $@
