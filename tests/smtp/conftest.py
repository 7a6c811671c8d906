"""Both ways of speaking SMTP."""

import pytest


@pytest.fixture(params=[False, True], ids=["one by one", "grouped"])
def pipelining(request):
    """Everything here holds for servers that are given one command at a time, and for those that take groups."""
    return request.param
