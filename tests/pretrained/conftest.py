"""A server on loopback for every test that wants one."""

import pytest
from loopback import Loopback


@pytest.fixture
def server():
    with Loopback() as loopback:
        yield loopback
