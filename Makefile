# Each target sets up .venv by itself the first time, and again when requirements.txt changes.

PYTHON ?= python3
RUN := .venv/bin/python
INSTALLED := .venv/.installed
BENCH := $(wildcard benchmarks/run.py)

.PHONY: help demo serve test lint bench

help:
	@echo "make demo    two motions from text, into output/demo"
	@echo "make serve   the web page, at http://127.0.0.1:7860"
	@echo "make test    the tests"
	@echo "make lint    ruff: check and format"
	@$(if $(BENCH),echo "make bench   the benchmarks",:)
	@echo "Python 3.11 or newer is needed; to name one: make demo PYTHON=/path/to/python3.11"

demo: $(INSTALLED)
	$(RUN) generate.py --text "a person walks forward" --text "someone waves with the left hand" \
		--seed 1 --out-dir output/demo

serve: $(INSTALLED)
	$(RUN) demo.py

test: $(INSTALLED)
	$(RUN) -m pytest

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

ifneq ($(BENCH),)
bench: $(INSTALLED)
	$(RUN) -m benchmarks.run
endif

$(INSTALLED): requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || \
		{ echo "Python 3.11 or newer is needed and '$(PYTHON)' is not;" \
		"try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@
