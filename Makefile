# Thin on purpose: each target is one command that can be typed by hand (the README lists them for Windows).
# PYTHON chooses the interpreter that makes .venv: make setup PYTHON=/usr/bin/python3.12

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for each in python3 python python3.14 python3.13 python3.12 python3.11; do \
	if "$$each" -c '$(SUPPORTED)' 2>/dev/null; then echo "$$each"; break; fi; done)
RUN := .venv/bin/python

.PHONY: setup demo lab check test real mutants hostile notebooks notebooks-test release bench
.DEFAULT_GOAL := setup

setup: .venv/.stamp

# Done once for each state of the two files that say what is needed; a second `make setup` does nothing.
.venv/.stamp: pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { \
		echo "lora_lab needs Python 3.11 to 3.14, and '$(PYTHON)' is none. Install one, then: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up .venv: about a minute, once"
	"$(PYTHON)" -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[lab,test]"
	@touch $@

demo: setup
	@.venv/bin/lora-lab demo

lab: setup
	@.venv/bin/lora-lab lab

check: setup
	@$(RUN) tests/run.py check

test: setup
	@$(RUN) tests/run.py all

# The main job on a real model, end to end, and the lessons that speak of it: fetched once, then about ten minutes on two
# cores. `make test` runs the job, `make release` the lessons.
real: setup
	@$(RUN) tests/run.py real real_lessons

# Each small wrong change to the library against all fast tests of its room, of which `make test` runs the one that it
# names; and each answer to a task against its check, with ten draws of the inputs in place of three.
mutants: setup
	$(RUN) tests/mutants/library/run.py --whole
	$(RUN) tests/mutants/exercises/run.py --seeds 10

# Submissions that attack the grader, each once on a right answer and once on a wrong one.
hostile: setup
	@$(RUN) tests/run.py hostile

# Rebuild and execute the notebooks whose masters changed.
notebooks: setup
	$(RUN) course/build.py

notebooks-test: setup
	@$(RUN) tests/run.py drift notebooks

# What must hold before a release besides `make test`: every workbook, with what is asked of the learner skipped, and the
# lessons that speak of the real model, on it.
release: setup
	@$(RUN) tests/run.py release

bench: setup
	@set -e; for script in benchmarks/bench_*.py; do echo "$$script"; $(RUN) "$$script"; done
