# Every command a person needs. `make` alone lists them.
# All but help, serve and clean first make the virtual environment, once (tools/setup_env.py).

# The folder of this file, also under `make -C` and `make -f`, with spaces in the path.
ROOT := $(shell cd "$$(dirname "$$(echo '$(MAKEFILE_LIST)' | sed 's/^ *//')")" && pwd)
PYTHON ?= python3
VENV ?= .venv
REQUIREMENTS ?= requirements.txt
PORT ?= 8000
# SOLUTIONS=no builds a book without the solutions of its exercises.
SOLUTIONS ?= yes

# An absolute path, because notebooks run in book/.
ENV := $(if $(filter /%,$(firstword $(VENV))),$(VENV),$(ROOT)/$(VENV))
IN := cd "$(ROOT)" &&
BIN := "$(ENV)/bin"
PY := $(BIN)/python

# Caches live in the environment: nothing is read from or written to the home directory.
export MPLCONFIGDIR := $(ENV)/cache/matplotlib
export IPYTHONDIR := $(ENV)/cache/ipython
export KERAS_HOME := $(ENV)/cache/keras
export PYTHONNOUSERSITE := 1

# The engine on which Keras runs; read when it is imported.
KERAS_BACKEND ?= torch
export KERAS_BACKEND

export COURSE_SOLUTIONS := $(SOLUTIONS)

NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=120 --nbval-sanitize-with=tests/nbval.cfg

.PHONY: help setup book serve pdf offline slides test test-instructor test-experiments test-site test-tensorflow test-binder test-libraries notebooks exercises student-notebooks colab mutants experiments bench budget contact lint clean
.DEFAULT_GOAL := help

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' "$(ROOT)/Makefile" | awk -F'|' '{printf "%-24s %s\n", $$1, $$2}'

setup:
	@$(IN) VENV="$(VENV)" $(PYTHON) tools/setup_env.py --requirements "$(REQUIREMENTS)"

book: setup  ## build the book from scratch, every warning an error (SOLUTIONS=no: without solutions)
	@$(IN) rm -rf _build/html _build/.doctrees _build/jupyter_execute
	@$(IN) $(BIN)/jupyter-book build book -W --keep-going -n -q
	@echo "The book is at $(ROOT)/_build/html/index.html"

serve:  ## show the built book on this machine (PORT=8000)
	@$(IN) $(PYTHON) tools/serve.py $(PORT)

test: lint  ## check everything: style, layers, tests, and every cell of every notebook
	@$(IN) $(PY) -m pytest tests book $(NBVAL) -n 2 --dist loadscope

# Strangers' notebooks run in bubblewrap, as an ordinary user even where these tests run as root.
test-instructor: setup  ## grade a class of right, wrong and hostile notebooks in the sandbox (Linux, bubblewrap)
	@command -v bwrap >/dev/null || { echo "The sandbox is missing: apt install bubblewrap"; exit 1; }
	@$(IN) $(PY) -m pytest -m instructor tests

test-experiments: setup  ## make one stored number of every long experiment again, and compare
	@$(IN) $(PY) -m pytest -m experiments tests -n 2 --dist load

# In light and dark, wide and narrow, by mouse, touch and keys. SITE=folder tests that build and builds none.
test-site: $(if $(SITE),setup,book)  ## build the book and use every page in a real browser (SITE=_build/html: without building)
	@$(IN) COURSE_SITE="$(or $(SITE),_build/html)" $(PY) -m pytest -m site tests/site -n 2 --dist worksteal

# An environment of its own: nothing else here needs TensorFlow. Beside $(ENV), with its own caches.
test-tensorflow:  ## check Keras's layers against ours on TensorFlow (installed apart, 2.5 GB)
	@$(MAKE) --no-print-directory -f "$(ROOT)/Makefile" test-libraries VENV="$(ENV)-tensorflow" \
		REQUIREMENTS=tests/libraries/requirements-tensorflow.txt KERAS_BACKEND=tensorflow

# What Binder installs is an environment of its own, beside $(ENV). ONLY: how names of notebooks begin.
test-binder: setup  ## run every notebook as on Binder: its packages, 2 GB, one core (some only: ONLY="04 vision")
	@$(IN) $(PY) tools/binder_check.py --venv "$(ENV)-binder" $(ONLY)
	@$(IN) $(PY) tools/colab_check.py --venv "$(ENV)-binder"

test-libraries: setup
	@$(IN) $(PY) -m pytest tests/libraries

notebooks: setup  ## run every chapter and store it in its normal form
	@$(IN) $(PY) tools/notebooks.py run book/*.ipynb

pdf: setup  ## make the PDF of the whole book with LaTeX into _build/pdf, and check it (SOLUTIONS=no)
	@$(IN) $(PY) tools/pdf.py

offline: book  ## pack the book into _build/attention-step-by-step.zip, to be read from a folder (SOLUTIONS=no)
	@$(IN) $(PY) tools/offline.py

slides: setup  ## write slides of every chapter into _build/slides
	@$(IN) $(PY) tools/slides.py

exercises: setup  ## prove every checker of the exercise bank and write the lists of exercises
	@$(IN) $(PY) tools/exercise_proof.py
	@$(IN) $(PY) tools/exercise_pages.py write

student-notebooks: setup  ## write the notebook of every exercise into book/exercises/_notebooks
	@$(IN) $(PY) tools/exercise_pages.py notebooks

colab: setup  ## write copies of the chapters and exercises for Colab into _build/colab
	@$(IN) $(PY) tools/colab.py

mutants: setup  ## change the solutions in every small way and count the wrong ones that a check lets pass
	@$(IN) $(PY) tools/exercise_mutants.py

experiments: setup  ## run every long experiment and store its results (some hours)
	@$(IN) for file in experiments/[0-9]*.py; do echo "$$file"; $(PY) "$$file" || exit 1; done

bench: setup  ## time layers, long texts, decoding, training, chapters, book, tests, and store it (an idle machine, 90 minutes)
	@$(IN) for name in layers long_texts decoding recurrent training project; do $(PY) benchmarks/$$name.py || exit 1; done

budget: setup  ## print seconds and peak memory of every chapter
	@$(IN) $(PY) tools/notebooks.py budget book/*.ipynb

contact: setup  ## write contact sheets of the built book into _build/contact, for people to look at
	@$(IN) $(PY) tools/contact_sheets.py

lint: setup  ## check style, formatting and the order of the modules
	@$(IN) $(BIN)/ruff check .
	@$(IN) $(BIN)/ruff format --check .
	@$(IN) $(BIN)/lint-imports --no-logo

clean:  ## remove what was built; the environment stays
	@$(IN) rm -rf _build .pytest_cache .hypothesis .ruff_cache .import_linter_cache *.egg-info
	@$(IN) find attncourse book experiments tests tools -name __pycache__ -prune -exec rm -rf {} +
