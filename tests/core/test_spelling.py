"""Options as Python writes them."""

from __future__ import annotations

import pytest

from nyctaxi_etl.core.spelling import in_python


@pytest.mark.parametrize(
    ("option", "parameter"),
    [
        ("--source tcl: there is no such folder.", "source=tcl: there is no such folder."),
        ("--data-dir /x can't be written to: no.", "data_dir=/x can't be written to: no."),
        ("Use --mode etl, or another --lake.", "Use mode=etl, or another lake=."),
        ("Name a file: --to duckdb:///path.", "Name a file: to=duckdb:///path."),
        ("Choose another name with --table, or --force it.", "Choose another name with table=, or force=True it."),
        ("Run `nyctaxi upload --lake gs://b/p` with --raw.", "Run `nyctaxi upload --lake gs://b/p` with raw=True."),
        ("Put it there: nyctaxi upload --color fhv --months 3", "Put it there: nyctaxi upload --color fhv --months 3"),
        ("Nothing of the kind: a--b, --.", "Nothing of the kind: a--b, --."),
    ],
)
def test_options_become_parameters(option: str, parameter: str) -> None:
    """An option is a parameter with its value; a shell command is left as it is."""
    assert in_python(option) == parameter
