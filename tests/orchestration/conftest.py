"""Prefect's server, which the tests of this folder share: it is started for the first that asks, and ends with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.prefect import client_of, prefect_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.prefect import PrefectServer


@pytest.fixture(scope="package")
def prefect_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """``prefect server start``, for commands in processes of their own."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="package")
def prefect_here(prefect_running: PrefectServer) -> Iterator[PrefectServer]:
    """The same server, for flows that run in this process."""
    with client_of(prefect_running):
        yield prefect_running
