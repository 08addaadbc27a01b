"""The tests that `make test-long` runs alone: more repetitions, more combinations, more modules."""

import os

import pytest

IS_LONG = "MAPCALL_LONG" in os.environ
long = pytest.mark.skipif(not IS_LONG, reason="`make test-long` runs it, and MAPCALL_LONG=1")
