# The two commands of the README: `make run` and `make test`. Everything they need is installed by
# them: Python packages in .venv, hls.js by the npm lock file, Debian packages by apt-get when root.
.POSIX:
.PHONY: run test setup setup-test debian-packages lint types unit bench clean

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
ARGS =

run: setup
	$(BIN)/tertulia serve $(ARGS)

test: setup-test lint types unit

setup: $(VENV)/.run-ready node_modules/.run-ready
setup-test: $(VENV)/.test-ready node_modules/.test-ready debian-packages

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tertulia needs Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh .ci/debian-packages python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test-ready: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/.run-ready

node_modules/.run-ready: package.json package-lock.json
	@command -v npm >/dev/null || sh .ci/debian-packages nodejs npm
	npm ci --omit=dev --no-audit --no-fund --loglevel=error
	@touch $@

node_modules/.test-ready: package.json package-lock.json
	@command -v npm >/dev/null || sh .ci/debian-packages nodejs npm
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@ node_modules/.run-ready

# Always asked: quick when everything is there.
debian-packages:
	@sh .ci/debian-packages chromium ffmpeg firefox-esr

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy
	node_modules/.bin/tsc --noEmit -p .

unit:
	$(BIN)/pytest $(ARGS)

bench: setup-test
	$(BIN)/python -m tests.bench $(ARGS)

clean:
	rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache
