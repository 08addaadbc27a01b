"""Fixtures for the tests of clusters: one cluster of two workers for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

import clusters

# Workers import a test module by the name that pytest gives it: `tests.python.cluster.NAME`.
if str(ROOT := Path(__file__).parents[3]) not in sys.path:
    sys.path.append(str(ROOT))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Returns a cluster of two worker processes, one thread each. Tests leave its workers alive."""
    with clusters.cluster(tmp_path_factory.mktemp("workers")) as made:
        yield made


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """Returns a client of the shared cluster, which is Dask's default scheduler during the test."""
    with clusters.client(cluster) as made:
        yield made
