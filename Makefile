PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs clean

demo: $(VENV)/.installed  ## segment the shipped sample pictures with the miniature preset
	$(BIN)/segwright segment src/segwright/mini/data/JPEGImages/val_0000[0-7].jpg --preset mini -o out/demo

test: $(VENV)/.installed-dev  ## the tests, offline
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev  ## style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev  ## the documentation in site/; fails on any warning or broken link
	$(BIN)/python tools/cli_page.py docs/reference/cli.md
	$(BIN)/zensical build --clean --strict
	$(BIN)/python tools/check_site.py site

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	-$(BIN)/pip install -q -c constraints.txt -e ".[reference]"
	touch $@

clean:
	rm -rf $(VENV) out site .cache
