"""One damaged object of the lake is one month's misfortune: the others come and go, and the month can be put again."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyctaxi_etl import read_trips
from nyctaxi_etl.cli import app as cli
from nyctaxi_etl.core.errors import NycTaxiError
from nyctaxi_etl.lakes.gcs import gcs_client
from support.months import publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.google import Cloud

    Run = Callable[..., tuple[int, list[dict[str, Any]]]]

MONTHS = ("--color", "fhv", "--year", "2021", "--months", "1-3", "--direct", "--json")
STEM = "fhv_tripdata_2021-02"


def _footer(length: int) -> bytes:
    return length.to_bytes(4, "little") + b"PAR1"


def _over_footer(byte: Callable[[int], bytes]) -> Callable[[bytes], bytes]:
    """Return a damage of all bytes between the last rows and the footer's length."""

    def damage(whole: bytes) -> bytes:
        size = int.from_bytes(whole[-8:-4], "little")
        return whole[: -8 - size] + byte(size) + whole[-8:]

    return damage


def _with_facts(**facts: bytes | None) -> Callable[[bytes], bytes]:
    """Return a damage of the facts in the footer alone: the rows are whole."""

    def damage(whole: bytes) -> bytes:
        table = pq.read_table(pa.BufferReader(whole))
        told = {f"nyctaxi.{name}".encode(): value for name, value in facts.items()}
        metadata = {name: value for name, value in {**table.schema.metadata, **told}.items() if value is not None}
        out = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(metadata), out)
        return bytes(out.getvalue())

    return damage


def _other_types(whole: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(whole))
    nested = pa.array([[{"a": 1}]] * table.num_rows)
    out = pa.BufferOutputStream()
    changed = table.set_column(table.schema.get_field_index("pickup_datetime"), "pickup_datetime", nested)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), out)
    return bytes(out.getvalue())


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "zeros": _over_footer(bytes),
    "ff": _over_footer(lambda size: b"\xff" * size),
    "random": _over_footer(lambda size: random.Random(7).randbytes(size)),  # noqa: S311 - the same every time
    "length 0": lambda whole: whole[:-8] + _footer(0),
    "length beyond the file": lambda whole: whole[:-8] + _footer(0xFFFFFFFF),
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda _whole: b"",
    "zeros throughout": lambda whole: bytes(len(whole)),
    "a text": lambda _whole: b"<html>not here</html>",
    "not UTF-8": _with_facts(source=b"\xff\xfe"),
}
# Of these the rows are whole, and the facts are not what we write.
FACTS: dict[str, dict[str, bytes | None]] = {
    "no checksum": {"source_sha256": None},
    "flags that are no JSON": {"flags": b"{garbage"},
    "flags that never end": {"flags": b"[" * 7_000},
    "flags of another type": {"flags": b"[1, 2]"},
    "flags that count no rows": {"flags": b'{"a": "many", "b": NaN}'},
    "columns of another type": {"unknown_columns": b'{"a": 1}'},
    "columns that are no texts": {"unknown_columns": b"[1, null]"},
    "a count below zero": {"rows_read": b"-1"},
    "a count beyond all": {"rows_loaded": b"9" * 5_000},
    "a count that is none": {"source_bytes": b"1_000"},
}
DAMAGES |= {name: _with_facts(**facts) for name, facts in FACTS.items()}
# Of these the facts are whole, and the rows are not what the facts say.
ROWS: dict[str, Callable[[bytes], bytes]] = {
    "rows of another type": _other_types,
    "zeros for rows": lambda whole: whole[:4] + bytes(400) + whole[404:],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command runs: the folder ``source`` has three months of fhv, and the lake has them, too."""
    monkeypatch.chdir(tmp_path)
    for month in (1, 2, 3):
        publish(tmp_path / "source", f"2021-{month:02d}", 200, "B00001")
    assert cli.main(["upload", *MONTHS, "--source", "source"]) == 0
    return tmp_path


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """A command in this process: call it for its exit code and its results."""
    assert (folder / "source").is_dir()

    def run(command: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        capfd.readouterr()
        code = cli.main([command, *MONTHS, *arguments])
        return code, json.loads(capfd.readouterr().out)["results"]

    return run


def outcomes(results: list[dict[str, Any]]) -> list[str]:
    """Return the outcomes of a run's months."""
    return [result["outcome"] for result in results]


def loaded(folder: Path) -> list[int]:
    """Return how many rows each month in the warehouse has."""
    with duckdb.connect(str(folder / "data" / "nyctaxi.duckdb"), read_only=True) as connection:
        sql = "SELECT count(*) FROM fhv_taxi_data GROUP BY file_month ORDER BY file_month"
        return [count for (count,) in connection.execute(sql).fetchall()]


@pytest.mark.parametrize("name", [*DAMAGES, *ROWS])
def test_a_damaged_month_fails_alone_and_is_put_again(name: str, folder: Path, run: Run) -> None:
    """``warehouse`` loads the others, by an error of ours; ``upload`` puts the month again, and all is well."""
    path = folder / "data" / "lake" / "trips" / "fhv" / f"{STEM}.parquet"
    path.write_bytes({**DAMAGES, **ROWS}[name](path.read_bytes()))
    code, results = run("warehouse")
    assert (code, outcomes(results)) == (1, ["loaded", "failed", "loaded"])
    error = results[1]["error"]
    assert error["type"] in {"CorruptFile", "LakeError"} or (name, error["type"]) == (
        "rows of another type",
        "WarehouseError",
    )
    assert name == "rows of another type" or path.name in error["message"]
    assert loaded(folder) == [200, 200]
    code, results = run("upload", "--source", "source", *(("--force",) if name in ROWS else ()))
    assert (code, outcomes(results)[1]) == (0, "loaded")
    if name not in ROWS:
        assert outcomes(results) == ["unchanged", "loaded", "unchanged"]
    assert (run("warehouse")[0], loaded(folder)) == (0, [200, 200, 200])


@pytest.mark.parametrize("name", DAMAGES)
def test_a_frame_is_of_whole_rows(name: str, folder: Path) -> None:
    """A month that can't be read is named; facts, whole or not, are no matter for its rows."""
    path = folder / "data" / "lake" / "trips" / "fhv" / f"{STEM}.parquet"
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    if name in FACTS or name == "not UTF-8":
        assert len(read_trips("fhv", 2021, "1-3", ["dispatching_base_num"], at="lake")) == 600
        return
    with pytest.raises(NycTaxiError, match=r"fhv/2021-02"):
        read_trips("fhv", 2021, "1-3", ["dispatching_base_num"], at="lake")
    assert len(read_trips("fhv", 2021, 1, ["dispatching_base_num"], at="lake")) == 200


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="for root every file can be read")
def test_an_object_that_may_not_be_read_fails_alone(folder: Path, run: Run) -> None:
    """It is that month's, and put again."""
    path = folder / "data" / "lake" / "trips" / "fhv" / f"{STEM}.parquet"
    path.chmod(0)
    code, results = run("warehouse")
    assert (code, outcomes(results)) == (1, ["loaded", "failed", "loaded"])
    assert outcomes(run("upload", "--source", "source")[1]) == ["unchanged", "loaded", "unchanged"]


def test_a_folder_in_an_objects_place_fails_alone(folder: Path, run: Run) -> None:
    """Nothing can be read from it or put there; the others come and go."""
    path = folder / "data" / "lake" / "trips" / "fhv" / f"{STEM}.parquet"
    path.unlink()
    path.mkdir()
    assert outcomes(run("warehouse")[1]) == ["loaded", "missing", "loaded"]
    code, results = run("upload", "--source", "source")
    assert (code, outcomes(results)) == (1, ["unchanged", "failed", "unchanged"])
    assert results[1]["error"]["type"] == "LakeError"


def test_a_bucket_with_damaged_objects(google: Cloud, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the facts are an object's metadata, and a frame reads only what it needs of it."""
    for name, value in google.settings().items():
        monkeypatch.setenv(name, value)
    assert run("upload", "--source", "source")[0] == 0
    bucket = gcs_client(google.storage).bucket(google.bucket)
    key = f"nyc/trips/fhv/{STEM}.parquet"
    whole = bucket.blob(key).download_as_bytes(raw_download=True)
    # The emulator keeps metadata in attributes of a file, which hold little; and none can be taken away.
    short = [facts for facts in FACTS.values() if all(value and len(value) < 1_000 for value in facts.values())]
    for number, facts in enumerate(short):
        blob = bucket.blob(key)
        blob.metadata = {**google.facts(key[4:]), **{name: value.decode() for name, value in facts.items() if value}}
        blob.upload_from_string(whole)
        results = run("warehouse", "--to", f"duckdb:///{folder}/{number}.duckdb")[1]
        assert outcomes(results) == ["loaded", "failed", "loaded"], facts
        assert results[1]["error"]["type"] == "LakeError"
        assert outcomes(run("upload", "--source", "source")[1]) == ["unchanged", "loaded", "unchanged"]
    for damage in (DAMAGES["zeros"], DAMAGES["random"], DAMAGES["truncated"], DAMAGES["empty"]):
        bucket.blob(key).upload_from_string(damage(whole))
        assert outcomes(run("warehouse")[1])[1] == "failed"
        with pytest.raises(NycTaxiError, match="fhv/2021-02"):
            read_trips("fhv", 2021, "1-3", ["dispatching_base_num"], at=f"gs://{google.bucket}/nyc")
