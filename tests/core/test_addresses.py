"""What in an address is a secret: one rule for our doors, for Prefect's server, and for what drivers read."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote_plus

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from nyctaxi_etl.core.addresses import PATTERN, holds_secret, refuse_secret, shown
from nyctaxi_etl.core.errors import UsageError, trace_of
from nyctaxi_etl.lakes.opening import open_lake
from nyctaxi_etl.sources import registry as sources
from nyctaxi_etl.warehouses.opening import open_warehouse

PW = "s3cr3t-pw"
ODBC = quote_plus(f"DRIVER={{ODBC}};SERVER=h;UID=me;PWD={PW}")
SECRETS = (
    f"postgresql://me:{PW}@host/x",
    f"postgresql+psycopg://me:{PW}@host:5432/x?sslmode=require",
    f"postgresql://me@corp:{PW}@host/x",
    f"postgresql://:{PW}@host/x",
    f"sqlite+pysqlcipher://:{PW}@/trips.db",
    f"postgresql://me:{PW}/with/slashes@host/x",
    f"postgresql://me@host/x?password={PW}",
    f"postgresql://me@host/x?sslmode=require&SSLPassword={PW}",
    f"postgresql://me@host/x?p%61ssword={PW}",
    f"mssql+pyodbc:///?odbc_connect={ODBC}",
    f"mssql+pyodbc:///?odbc_connect={quote_plus(ODBC)}",
    f"mssql+pyodbc:///?odbc_connect={ODBC.replace('PWD', '%50WD')}",
    f"host=h user=me password={PW}",
    f"http:/me:{PW}@host/x",
    f"http:me:{PW}@host/x",
    f"http:////me:{PW}@host/x",
    f"//me:{PW}@host/x",
    f"me:{PW}@host/x",
    f" https://me:{PW}@host/x",
    f"https://{PW}@host/x",
    f"HTTPS://{PW}@host/x",
    f"https://host/x?sig={PW}",
    f"https://host/x?X-Amz-Signature={PW}",
    f"gs://me:{PW}@bucket/x",
)
HARMLESS = (
    *("", "tlc", "datatalks", "sample", "duckdb", "bigquery", "lake", "block:my-block", "data/lake", "/srv/2021-01"),
    *("https://host/x", "https://host:8080/ab", "gs://bucket/prefix", "gs://bucket/a:b@c", "/srv/me:x@home", "a@b"),
    *("postgresql://me@host:5432/x?sslmode=require", "postgresql:///x?host=/run/postgresql&passfile=/home/me/.pgpass"),
    *("duckdb:///trips.duckdb", "sqlite:////tmp/x.db", "postgresql://me@[::1]:5432/x", r"C:\data\a@b", "C:/data/a@b"),
    *("sqlite:///C:/Users/me@corp/x.db", "tokens/year=2021", "mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3B", "x\ny"),
)


def is_refused_by_schema(address: str) -> bool:
    """Tell whether a JSON schema with our pattern refuses an address, as Prefect's server asks it."""
    return bool(list(jsonschema.Draft202012Validator({"type": "string", "pattern": PATTERN}).iter_errors(address)))


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_secret(address: str) -> None:
    """It is refused by the rule, by the schema and by every door, and nothing that we say repeats it."""
    assert holds_secret(address)
    assert is_refused_by_schema(address)
    assert PW not in shown(address)
    for door in (sources.resolve, lambda text: open_warehouse(text, Path()), lambda text: open_lake(text, Path())):
        with pytest.raises(UsageError, match=r"holds (?:a password|a user name or password)") as caught:
            door(address)
        assert PW not in f"{caught.value.message} {caught.value.hint} {trace_of(caught.value)}"


@pytest.mark.parametrize("address", HARMLESS)
def test_an_address_without_one(address: str) -> None:
    """It is shown as it is."""
    assert not holds_secret(address)
    assert not is_refused_by_schema(address)
    assert shown(address) == address
    refuse_secret("to", address)


PARTS = st.sampled_from(
    ["http", "://", ":/", "//", ":", "@", "/", "?", "&", "=", "%3D", "pwd", "me", "h", " ", "\n", "%"]
)


@given(st.lists(PARTS, max_size=12).map("".join))
@example("http://h://@")
def test_rule_and_schema_agree(address: str) -> None:
    """The schema refuses what the rule refuses, and nothing else; what a driver reads as a password is one."""
    assert is_refused_by_schema(address) == holds_secret(address)
    try:
        password = make_url(address).password
    except (ArgumentError, ValueError):
        return
    assert holds_secret(address) or not password


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["postgresql", "mysql+pymysql", "mssql+pyodbc"]))
def test_every_address_that_is_made_with_a_password(user: str, password: str, driver: str) -> None:
    """Whatever characters a name and a password have, written as SQLAlchemy writes them they are seen."""
    address = URL.create(driver, user, password, "host", database="x").render_as_string(hide_password=False)
    assert holds_secret(address)


def test_the_pattern_is_javascript_too() -> None:
    """Prefect's page may check it as well: nothing stands in it that only Python knows."""
    assert re.findall(r"\(\?[^:!]", PATTERN) == []
    assert not {r"\A", r"\Z"} & set(re.findall(r"\\.", PATTERN))
