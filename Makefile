PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# PyTorch's own builds for the CPU. The usual index's torch for Linux brings 3 GB of CUDA libraries.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu
LABEL_STUDIO ?= 1.23.2
PRESET ?= mini
DATA ?= mini

.PHONY: demo test test-integrations real-size results lint docs dist clean

demo: $(VENV)/.installed  ## segment the shipped sample pictures with the miniature preset
	$(BIN)/segwright segment src/segwright/mini/data/JPEGImages/val_0000[0-7].jpg --preset mini -o out/demo
	$(BIN)/segwright overview out/demo --table
	@echo "All on one page: open out/demo/overview.html. To use segwright here: . $(VENV)/bin/activate"

test: $(VENV)/.installed-dev  ## the tests, offline, a process a core (one thread each), four at most
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test-integrations: $(VENV)/.installed-dev $(VENV)-label-studio/.installed  ## a real Label Studio asks segwright; its own environment is 1 GB
	mkdir -p out
	$(BIN)/python tests/integrations/real_label_studio.py --command $(VENV)-label-studio/bin/label-studio --screenshot out/label-studio.png

real-size: $(VENV)/.installed-dev  ## networks of full size with random weights: 14 GB of disk, 12 GB of memory, about half an hour
	$(BIN)/python -m pytest -m real_size -s -o tmp_path_retention_policy=none tests/models/test_tensors.py

results: $(VENV)/.installed-dev  ## every figure again, hours; PART="methods freeseg-diff/2", PRESET=sd15 DATA=voc ROOT=DIR; resumes
	$(BIN)/python tools/results.py $(PART) --preset $(PRESET) --data $(DATA) $(if $(ROOT),--root $(ROOT) --splits val)

lint: $(VENV)/.installed-dev  ## style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dist: $(VENV)/.installed-dev  ## wheel and source distribution into dist/
	rm -rf dist
	$(BIN)/python -m build -q

docs: $(VENV)/.installed-dev  ## the documentation in site/; fails on any warning or broken link
	$(BIN)/python tools/cli_page.py docs/reference/cli.md
	$(BIN)/zensical build --clean --strict
	$(BIN)/python tools/check_site.py site

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	TORCH_CPU="$(TORCH_CPU)" .ci/torch $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	-$(BIN)/pip install -q -c constraints.txt -e ".[reference]"
	touch $@

$(VENV)-label-studio/.installed: constraints.txt
	$(PYTHON) -m venv $(VENV)-label-studio
	$(VENV)-label-studio/bin/pip install -q label-studio==$(LABEL_STUDIO)
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-label-studio out dist site .cache
