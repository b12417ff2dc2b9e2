"""The tests' own set-up: nothing that a test opened lives on after it."""

from __future__ import annotations

import pytest

CAUSE = OSError("below")
ERROR = KeyError("above")


@pytest.mark.parametrize(("error", "cause"), [(ERROR, CAUSE)])
def test_an_exception_as_a_parameter(error: KeyError, cause: OSError) -> None:
    """Raised, an exception holds the frames that it passed."""
    with pytest.raises(KeyError):
        raise error from cause
    assert error.__traceback__


def test_it_forgets_who_raised_it() -> None:
    """After its test it holds none of them, nor what it was raised from."""
    assert (ERROR.__traceback__, ERROR.__cause__, ERROR.__context__) == (None, None, None)
    assert CAUSE.__traceback__ is None
