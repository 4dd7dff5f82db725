# Two commands: `make demo` and `make test`. Each makes .venv on first use and reuses it afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROCESSES ?= 3
INSTALLED := $(VENV)/.installed

LOWEST := .venv-lowest
WHEELS := .venv-wheels

.PHONY: demo test explore lint docs leaderboards distributions wheels lowest clean

demo: $(INSTALLED)
	$(BIN)/python -m earthinstruct evaluate --method instructsam --output runs/demo --overwrite

test: $(INSTALLED)
	# three processes for two cores, since tests of faults wait; a file stays in one process, so that its fixtures are made
	# once; in the order of tests/conftest.py; with bytecode, since tests start many processes
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

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
	$(BIN)/lint-imports
	$(BIN)/typos
	for folder in . methods/models methods/instructsam methods/baselines; do (cd $$folder && \
		$(abspath $(BIN)/deptry) . && \
		$(abspath $(BIN)/deptry) . --extend-exclude tests --optional-dependencies-dev-groups test --ignore DEP002) || exit; done

# the site, in site/, and whether it works: opened from disk in a browser, with every link followed
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	$(BIN)/python -m pytest .ci/test_site.py

# the stored tables and the schema are what the stored results give
leaderboards: $(INSTALLED)
	$(BIN)/earthinstruct leaderboard check

# the sdist and the wheel of each distribution, in dist/, and whether their contents are right
distributions: $(INSTALLED)
	rm -rf dist
	for folder in . methods/models methods/instructsam methods/baselines; do \
		$(BIN)/python -m build --no-isolation --outdir dist $$folder || exit; done
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m pytest .ci/test_distributions.py

# the demo from the wheels alone, in an empty folder; its scores are the known ones
wheels: distributions
	$(PYTHON) -m venv --clear $(WHEELS)
	$(WHEELS)/bin/python -m pip install dist/*.whl
	sh .ci/demo $(abspath $(WHEELS)/bin/earthinstruct) $(abspath tests/guarded)

# every test with the oldest releases that the bounds allow; sam2 last, as below
lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST) --resolution lowest-direct -e ".[geo,ray,test]" -e "methods/models[test]" \
		-e "methods/instructsam[test]" -e "methods/baselines[test]"
	SAM2_BUILD_CUDA=0 $(LOWEST)/bin/uv pip install --python $(LOWEST) --resolution lowest-direct -e "methods/models[sam2]"
	$(LOWEST)/bin/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) $(WHEELS) $(LOWEST) dist runs site

$(INSTALLED): pyproject.toml methods/models/pyproject.toml methods/instructsam/pyproject.toml methods/baselines/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "EarthInstruct needs Python 3.11 or newer; name one with make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".[test,lint,docs,package,ray]" -e "methods/models[test]" -e "methods/instructsam[test]" -e "methods/baselines[test]"
	# sam2 comes as source that needs the torch above: without isolation it builds in seconds, not on a second torch
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --no-build-isolation -e "methods/models[sam2,lvlm]"
	touch $@
