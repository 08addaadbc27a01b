"""Fixtures for the tests of clusters: one cluster of two workers for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cloudpickle
import pytest
from distributed import Client, LocalCluster

import clusters


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


@pytest.fixture(scope="module", autouse=True)
def functions_of_tests_are_sent(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets workers run functions that a test module defines: they can't import the module."""
    module = sys.modules[request.module.__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)
