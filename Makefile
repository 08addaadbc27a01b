# `make demo` and `make test` each work alone in a fresh clone. CONTRIBUTING.md says more.

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
MATURIN := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses=logical --maxprocesses=8 --dist=worksteal
# The oracle of the Rust property tests.
export MAPCALL_PYTHON := $(BIN)/python
# Hundreds of interpreters read the modules that the first has compiled, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
FUZZ_SECONDS ?= 60

.PHONY: demo test test-rust test-python test-libraries test-long test-release bench lint format docs fuzz \
  memcheck build tools clean

demo: build
	$(BIN)/python examples/demo.py
	$(BIN)/mapcall demo

test: test-rust test-python

test-rust: tools $(VENV)/.test
	PROPTEST_CASES=$${PROPTEST_CASES:-100} cargo test --quiet --workspace

# Of a build with all checks on, as the tests of Rust; two hundred crates are compiled once for both.
test-python: tools $(VENV)/.test
	$(MATURIN) develop --quiet
	$(PYTEST)

# Tests of real libraries: packages of Debian, unpacked into `target/libraries`, with libclang as an oracle.
test-libraries: tools $(VENV)/.libraries
	$(BIN)/python tests/python/libraries/debian.py
	$(MATURIN) develop --quiet
	$(PYTEST) tests/python/libraries

# Many more cases of the properties, a minute of faults, clusters that are killed, and tests of other
# projects that use maps.
test-long: tools $(VENV)/.suites
	PROPTEST_CASES=5000 cargo test --workspace
	$(MATURIN) develop --quiet
	MAPCALL_LONG=1 $(PYTEST) tests/python/call tests/python/faults tests/python/test_closing.py \
	  tests/python/test_stubs.py
	MAPCALL_SIGNATURES=1000 $(PYTEST) tests/python/call/test_generated.py
	MAPCALL_STRESS_SECONDS=60 MAPCALL_STRESS_ROUNDS=10000 $(PYTEST) tests/python/faults/test_stress.py
	MAPCALL_CLUSTERS=1 $(PYTEST) tests/python/cluster
	MAPCALL_SUITES=1 $(PYTEST) conformance/test_suites.py tests/python/test_closed_in_libraries.py
	MAPCALL_CARGO=1 $(PYTEST) tests/python/test_cargo_project.py
	$(BIN)/python -m pytest --quiet tests/python/cluster/test_ray.py

# The Python tests of an optimised build.
test-release: build
	$(PYTEST)

bench: build $(VENV)/.bench
	rm -f target/budgets.jsonl
	for each in start attribute_and_map call lapack batch simd stream cluster; do \
	  $(BIN)/python benches/$$each.py --json target/budgets.jsonl || exit 1; done
	cargo bench --quiet --bench prototypes --bench calls
	cp target/budgets.jsonl docs/budgets.jsonl
	$(BIN)/python benches/picture.py docs/budgets.jsonl docs/budgets.svg

lint: $(VENV)/.lint
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- --deny warnings
	cargo clippy --quiet --package mapcall --no-default-features --all-targets -- --deny warnings
	cargo check --quiet --manifest-path fuzz/Cargo.toml --target-dir target
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.lint
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: build $(VENV)/.lint
	RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --workspace --no-deps
	$(BIN)/pdoc --output-directory target/doc/python mapcall

# Needs a nightly toolchain and `cargo install cargo-fuzz`.
fuzz:
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { \
	  echo "make fuzz needs a nightly toolchain and cargo-fuzz:"; \
	  echo "  rustup toolchain install nightly && cargo install cargo-fuzz"; exit 1; }
	cargo run --quiet --manifest-path fuzz/Cargo.toml --bin seeds
	for target in npy npz dtype prototype binder; do \
	  cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	    -rss_limit_mb=1024 || exit 1; done

# Lifetimes, calls and threads under valgrind.
memcheck: build
	@command -v valgrind >/dev/null || { echo "make memcheck needs valgrind: apt-get install valgrind"; exit 1; }
	$(BIN)/python tests/memcheck/run.py

# The extension in the virtual environment, as the released one but for link-time optimisation.
build: tools $(VENV)/.test
	$(MATURIN) develop --quiet --release

$(VENV)/bin/python: | tools
	$(PYTHON) -m venv $(VENV) || { \
	  echo "Python can't make a virtual environment: on Debian, apt-get install python3-venv"; exit 1; }

# Most of five thousand modules are never imported, and compiling them all takes half a minute.
$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile --group test
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group lint
	touch $@

$(VENV)/.libraries: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group libraries
	touch $@

$(VENV)/.suites: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group suites
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

# Says plainly what a machine lacks.
tools:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or newer, see rust-lang.org"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: on Debian, apt-get install gcc"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is missing; name it as in: make PYTHON=python3.12 test"; exit 1; }

clean:
	rm -rf $(VENV) target fuzz/target
