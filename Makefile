# Thin on purpose: each target is one command that can be typed by hand (the README lists them for Windows).
# PYTHON chooses the interpreter that makes .venv: make setup PYTHON=/usr/bin/python3.12

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(shell for each in python3 python python3.14 python3.13 python3.12 python3.11; do \
	if "$$each" -c '$(SUPPORTED)' 2>/dev/null; then echo "$$each"; break; fi; done)
RUN := .venv/bin/python

.PHONY: setup demo lab check test real mutants hostile notebooks notebooks-test release slides book prepare publish bench
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
	@$(RUN) tests/run.py whole_mutants many_answers

# Submissions that attack the grader, each once on a right answer and once on a wrong one.
hostile: setup
	@$(RUN) tests/run.py hostile

# Rebuild and execute the notebooks whose masters changed.
notebooks: setup
	$(RUN) course/build.py

notebooks-test: setup
	@$(RUN) tests/run.py drift notebooks

# All that must hold before a release, hours of it: `make test`, and what takes too long for every change. It wants a tree
# that is committed, and writes tests/records/release.json when every part has passed. The book brings what its tests need.
release: book
	@$(RUN) tests/run.py release

# What stands before and after it: make prepare VERSION=0.3.0, and make publish. CONTRIBUTING has the order.
prepare: setup
	@$(RUN) course/release.py prepare "$(VERSION)"

publish: setup
	@$(RUN) course/release.py publish

# Slides of each lesson, from stored outputs: out/slides/index.html. The first time, reveal.js comes from npm's registry.
slides: setup
	@$(RUN) course/make_slides.py

# The course as a web book, from stored outputs: out/book/index.html. The first time, MathJax comes from npm's registry.
book: setup
	@$(RUN) -c 'import myst_nb, sphinx_book_theme' 2>/dev/null || { echo "Installing Sphinx and its theme into .venv, once"; \
		$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book]"; }
	@cd course && ../$(RUN) -m book

bench: setup
	@set -e; for script in benchmarks/bench_*.py; do echo "$$script"; $(RUN) "$$script"; done
