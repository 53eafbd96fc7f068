# make run    installs into .venv once, then runs the benchmark of 2010 in its three modes
# make test   the same set-up with the development tools, then the tests
# make coverage   the quick tests, and how much of the code they run
# make lint   lint, format check, types, import contracts
# make validation   runs the scenarios that stand for recordings, and docs/explanation/validation.md
#             with what they come to; PAGEWAKE_RECORDINGS=DIR measures the recordings again, too
# make bench  speed, printed as ratios
# make docs   docs/reference from the code, and the outputs that pages show
# make generated   schemas/, docs/reference/ and grafana/dashboards/ from the code, and the rules of
#             deploy/kubernetes from those of deploy/prometheus; also one by one: make schemas, make
#             reference, make dashboards, make rules
# make soak   faults on services and brokers of its own, a hundred of them, while runs go on:
#             KILLS=100 SEED=1 LANES=2 RUNS=2 BROKERS=1; STEP=17 is the 17th alone
# make brokers, brokers-down   Kafka and Mosquitto on loopback, without Docker
# make cluster, cluster-down   the brokers and one of each service
# make compiled   the core compiled to C, in .venv instead of the checkout (needs a C compiler);
#             make test-compiled   tests on it; make pure   back to the checkout
# make clean  removes .venv and caches

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := run
.PHONY: run test coverage lint format generated generated-known schemas reference dashboards rules docs map \
        validation bench soak clean compiled pure test-compiled brokers brokers-down cluster cluster-down

run: $(VENV)/.installed
	@$(BIN)/pagewake benchmark natapov-2010 --seeds 1,2,3

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(TESTS)

# Tests that start nothing: pure code, drawn examples, recorded vectors. Measuring makes a run take three
# times as long, so those that are little but runs are not measured.
UNMEASURED := tests/property $(addprefix tests/unit/,explore/test_gallery.py explore/test_search.py \
  cli/test_jobs.py cli/test_narrow.py cli/test_payoff_map.py cli/test_load.py cli/test_trace_info.py \
  observe/test_report.py participants/test_at_start.py engine/test_pieces.py test_dead_code.py)

coverage:
	@$(MAKE) --no-print-directory test TESTS="tests/unit tests/conformance \
	  $(addprefix --ignore=,$(UNMEASURED)) --cov --cov-report=term --durations=20"
	@$(MAKE) --no-print-directory test TESTS="$(UNMEASURED) --durations=3"

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python -m docs.wrap

schemas: $(VENV)/.installed
	@$(BIN)/python -m pagewake.cluster.schema schemas

reference: $(VENV)/.installed-dev
	@$(BIN)/python -m docs.build --generated

rules: $(VENV)/.installed-dev
	@$(BIN)/python -m deploy.kubernetes.build

dashboards: $(VENV)/.installed-dev
	@$(BIN)/python -m grafana.build

generated: schemas reference dashboards rules

# For the hook before a commit, which sees no difference in a file that git does not know.
generated-known: generated
	@new="$$(git ls-files --others --exclude-standard schemas docs/reference docs/explanation docs/errata grafana/dashboards grafana/import deploy/kubernetes)"; \
	  [ -z "$$new" ] || { printf 'new, and not added:\n%s\ngit add them\n' "$$new" >&2; exit 1; }

docs: $(VENV)/.installed-dev
	@$(BIN)/python -m docs.build

# The picture of docs/how-to/does-it-pay.md and the words below it: 864 runs, minutes.
map: $(VENV)/.installed-dev
	@$(BIN)/python -m docs.payoff

validation: $(VENV)/.installed-dev
	@$(BIN)/python -m docs.validation

bench: $(VENV)/.installed-dev
	@for script in tests/bench/bench_*.py; do \
	  echo "== $$script"; $(BIN)/python -m "tests.bench.$$(basename "$$script" .py)" || exit 1; done

soak: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.soak.brokers_lost
	@$(BIN)/python -m tests.soak.soak --kills "$(or $(KILLS),100)" --seed "$(or $(SEED),1)" \
	  --lanes "$(or $(LANES),2)" --runs "$(or $(RUNS),2)" --brokers "$(or $(BROKERS),1)" \
	  $(if $(STEP),--step $(STEP))
	@$(if $(STEP),,MANY_RUNS=100 $(BIN)/python -m pytest -q -m soak)

# The core's functions call each other directly, not as what another library may replace.
CORE_CFLAGS := -fvisibility=hidden -fno-plt

# From a copy: the build moves pyproject.toml away and leaves its output beside the source.
compiled: $(VENV)/.installed
	@rm -rf $(VENV)/source && mkdir $(VENV)/source
	@cp -r pyproject.toml README.md LICENSE services $(VENV)/source/
	@echo "compiling the core (some minutes)" >&2
	@CFLAGS="$(CORE_CFLAGS) $(CFLAGS)" HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(PIP) --no-deps --force-reinstall ./$(VENV)/source
	@rm -rf $(VENV)/source
	@$(BIN)/pagewake --version

# What the compiled core is tested with: all that runs it and does not replace parts of it. Formats of
# traces, recordings and scenarios are the same source in both, and a key that has an effect has it in both.
COMPILED_TESTS := $(addprefix tests/unit/,kvm guest_kernel nested_svm host_memory simtime participants) \
  $(filter-out $(addprefix tests/property/test_,every_key.py recordings.py round_trip.py scenario.py \
    trace_formats.py),$(wildcard tests/property/test_*.py)) \
  tests/conformance tests/compat $(addprefix tests/integration/test_,builtin_scenarios.py \
  cluster_memory.py reachable.py)

test-compiled:
	@$(BIN)/pagewake --version | grep -q compiled || { echo "make: run make compiled first" >&2; exit 1; }
	@$(BIN)/python -m pytest --override-ini pythonpath=. $(or $(TESTS),$(COMPILED_TESTS))

pure: $(VENV)/.installed
	@$(PIP) --no-deps --force-reinstall --editable .
	@$(BIN)/pagewake --version

brokers:
	@deploy/local/brokers up

brokers-down:
	@deploy/local/brokers down

cluster: $(VENV)/.installed brokers
	@deploy/local/services up

cluster-down:
	@deploy/local/services down
	@deploy/local/brokers down

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so a set-up that was interrupted is done again and a finished one is not.

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "make: $(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: %s is Python %d.%d, pagewake needs 3.11 or newer: name one with make PYTHON=/path/to/python3" % ((sys.executable,) + sys.version_info[:2]))'
	@echo "setting up $(VENV) (once)" >&2
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "adding the development tools to $(VENV) (once)" >&2
	@$(PIP) --editable '.[dev]'
	@touch $@
