"""What an exception that nobody foresaw becomes: words and a traceback, without a secret."""

from __future__ import annotations

import copy

import pytest

from nyctaxi_etl.core.errors import Bug

SECRET = "s3cr3t-pw"  # noqa: S105 - a password that nothing has
TEXTS = (
    f"connection to postgresql://me:{SECRET}@host/db failed",
    f"postgresql://me:{SECRET}/with@signs@host/db",
    f"connection to host=db user=me password={SECRET} failed",
    f"{{'user': 'me', 'password': '{SECRET} of two words'}}",
    f'{{"private_key": "-----BEGIN PRIVATE KEY----- {SECRET}", "type": "service_account"}}',
    f"mssql+pyodbc:///?odbc_connect=SERVER=x;UID=me;PWD={SECRET};",
    f"Authorization: Bearer {SECRET}",
    f"PUT https://storage/upload?upload_id={SECRET}&x=1: reset",
    f"https://host/f.parquet?X-Goog-Signature={SECRET}",
)


def raised(error: Exception) -> Exception:
    """Return the error with a traceback, as it is caught."""
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize("text", TEXTS)
def test_a_bug_has_no_secret(text: str) -> None:
    """Neither the words nor the traceback, nor that of the error behind it, repeat a password or a signature."""
    error = raised(KeyError(text))
    error.__cause__ = raised(OSError(text))
    bug = Bug.of(error)
    assert SECRET not in bug.message + bug.trace
    assert bug.trace.startswith("Traceback")
    assert bug.trace.count("Error: ") == 2


def test_a_bug_keeps_what_tells_it() -> None:
    """Words without a secret stay as they are; of many lines the first, and of a long one its beginning."""
    assert Bug.of(ValueError("The token is wrong.\nLINE 1: SELECT")).message == "ValueError: The token is wrong."
    assert Bug.of(ZeroDivisionError()).message == "ZeroDivisionError"
    assert len(Bug.of(ValueError("x" * 100_000)).message) == 500


def test_errors_travel_between_processes() -> None:
    """Pickled, an error is what it was."""
    bug = copy.copy(Bug.of(raised(KeyError("a"))))  # as pickle does it
    assert (bug.message, bug.hint[:14], bug.trace[:9]) == ("KeyError: 'a'", "This is a bug ", "Traceback")
