"""Every setting, declared once: a row has its name, type, default, bounds and meaning.

The reader of the environment, the options of the command line, the parameters of the flows, ``.env.example`` and the
reference page are made of these rows. To add a setting is to add a row here (and, for an option, its name in
``settings.commands``). Nothing heavy is imported, so that ``--help`` starts at once.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_type_hints

from nyctaxi_etl.core.pace import FLOOR_BYTES
from nyctaxi_etl.core.partition import Color, Mode
from nyctaxi_etl.core.secret import Secret
from nyctaxi_etl.settings.commands import OPTIONS
from nyctaxi_etl.sources.registry import SOURCE_NAMES, SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nyctaxi_etl.settings.commands import Command

Value = TypeVar("Value")

# "with a minimum 10 MB data processed per query" (cloud.google.com/bigquery/pricing); its errors say 10485760.
LEAST_BILLED_BYTES = 10 << 20


@dataclass(frozen=True)
class Setting:
    """What there is to say of a setting.

    ``about`` is a sentence without its default; ``about_in`` has other sentences for commands, by their names, that
    take less, and ``about_list`` is one for flows, which take a list where a text has commas. ``low`` and ``high`` are
    the least and the largest value; ``check`` returns the value or raises ``ValueError`` where bounds don't tell.
    ``metavar`` stands for the value in ``--help``, and a shell completes it from ``choices``; an option that
    ``repeats`` may be given several times, as if with commas between. ``section`` is the heading under which it stands
    in ``.env.example`` and on the reference page.
    """

    name: str
    type: type
    default: Any
    about: str
    _: KW_ONLY
    about_in: Mapping[str, str] = field(default_factory=dict)
    about_list: str = ""
    low: float | None = None
    high: float | None = None
    check: Callable[[Any], Any] | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    repeats: bool = False
    section: str = ""

    @property
    def variable(self) -> str:
        """The name of its variable in the environment and in ``.env``."""
        return f"NYCTAXI_{self.name.upper()}"

    @property
    def option(self) -> str:
        """The option of its name, which those commands have that list it in ``settings.commands``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_text(self) -> bool:
        """Tell whether any text may be its value, also one that was misread."""
        return self.type in {str, Path, Secret}

    @property
    def default_text(self) -> str:
        """The default as the environment has it, empty for none."""
        if isinstance(self.default, Secret):
            return self.default.get_secret_value()
        return str(self.default).lower() if self.type is bool else str(self.default)

    def about_for(self, command: str) -> str:
        """Return what the setting means to a command."""
        return self.about_in.get(command, self.about)


def _row(default: Value, about: str, **more: Any) -> Value:
    """Return a field of ``Settings`` that ``SETTINGS`` makes a row of; ``more`` is as in ``Setting``."""
    return field(default=default, metadata={"about": about, **more})


def _as_billed(limit: int) -> int:
    """Return a limit of billed bytes.

    Raises:
        ValueError: BigQuery would refuse every query for it.
    """
    if 0 < limit < LEAST_BILLED_BYTES:
        message = f"BigQuery bills at least {LEAST_BILLED_BYTES:,} bytes a query: 0 is no limit"
        raise ValueError(message)
    return limit


@dataclass(frozen=True)
class Settings:
    """Defaults for the command line, the addresses of sources, and the credentials of blocks: a row for each."""

    color: str = _row(
        "",
        "Colours to load, with commas between: yellow, green, fhv, fhvhv.",
        about_list="Colours to load.",
        metavar="COLOR",
        choices=tuple(Color),
        repeats=True,
        section="What to load",
    )
    year: str = _row("", "Years to load: 2021, 2019-2021 or 2019,2021.", about_list="Years to load.", metavar="YEARS")
    months: str = _row(
        "1-12",
        "Months of each year: 1-3 or 1,3,5-7.",
        about_list="Months of each year, 1 to 12.",
        metavar="MONTHS",
    )
    source: str = _row(
        "tlc", f"{SOURCE_NAMES}, a folder or an http(s) base URL.", metavar="SOURCE", choices=tuple(SOURCES)
    )
    to: str = _row(
        "duckdb",
        "duckdb, duckdb:///path, bigquery, block:NAME or a SQLAlchemy URL without a password.",
        # BigQuery loads from the lake, not from a source.
        about_in={"ingest": "duckdb, duckdb:///path, block:NAME or a SQLAlchemy URL without a password."},
        metavar="WAREHOUSE",
    )
    lake: str = _row(
        "", "A folder, gs://bucket/prefix or block:NAME, instead of the data folder's lake.", metavar="LAKE"
    )
    mode: Mode = _row(Mode.ETL, "etl: rules drop rows before the lake; elt: in the warehouse.")
    raw: bool = _row(default=False, about="Put the published files into the lake as well.")
    table: str = _row("", "Table to load into, instead of {color}_taxi_data.", metavar="NAME")
    jobs: int = _row(2, "Months that run side by side, 1 to 64.", low=1, high=64, metavar="N")
    force: bool = _row(default=False, about="Load months again that are loaded and unchanged.")
    dry_run: bool = _row(default=False, about="Say what would be loaded, and load nothing.")
    json: bool = _row(default=False, about="Print one JSON object instead of a table.")
    direct: bool = _row(default=False, about="Run without Prefect.")
    data_dir: Path = _row(
        Path("data"), "Folder for fetched files, rejects, the lake and the DuckDB file.", metavar="FOLDER"
    )
    verbose: bool = _row(default=False, about="Print a line per step, and Prefect's own log.")
    debug: bool = _row(default=False, about="Print a traceback when a command fails.")
    check: bool = _row(default=False, about="Open each block after blocks-init has registered it.")

    tlc_url: str = _row(SOURCES["tlc"].base, "Base URL of the source tlc.", section="Sources")
    datatalks_url: str = _row(SOURCES["datatalks"].base, "Base URL of the source datatalks.")
    min_speed: int = _row(
        FLOOR_BYTES, "Bytes a second below which, over a minute, a download is broken off; 0 is no limit.", low=0
    )
    sample_rows: int = _row(50_000, "Rows in a month of the source sample.", low=1)
    max_unparsable: float = _row(
        0.05, "Share of rows that may be unparsable before a month fails, 0 to 1.", low=0, high=1
    )
    max_outside_month: float = _row(
        0.5, "Share of pickups that may be outside the file's month before it is refused, 0 to 1.", low=0, high=1
    )

    gcs_chunk_mb: int = _row(
        8,
        "MiB that are sent to a bucket in one request, and at most sent again after a break.",
        low=1,
        high=1024,
        section="The lake in a bucket, and BigQuery",
    )
    gcs_location: str = _row(
        "", "Where the bucket is: compared with BigQuery's dataset first. Asking would take another right."
    )
    bigquery_project: str = _row("", "Project of BigQuery's dataset, instead of the credentials' own.")
    bigquery_dataset: str = _row("nyctaxi", "Dataset that --to bigquery loads into; it must exist.")
    bigquery_location: str = _row("", "Where the dataset is meant to be; another place is refused.")
    bigquery_max_bytes: int = _row(
        20_000_000_000,
        f"Most bytes that a month's transaction in BigQuery may read, {LEAST_BILLED_BYTES} at least; 0 is no limit.",
        low=0,
        check=_as_billed,
    )

    postgres_host: str = _row(
        "",
        "Host of the block postgres-connection.",
        section="The block postgres-connection, which `nyctaxi blocks-init` registers",
    )
    postgres_port: int = _row(5432, "Port of the block.", low=1, high=65535)
    postgres_user: str = _row("", "User of the block.")
    postgres_password: Secret = _row(Secret(""), "Password of the block; kept as a secret.")
    postgres_database: str = _row("", "Database of the block.")
    postgres_sslmode: str = _row("", "TLS of the block, as libpq names it: require, verify-full, ...")

    gcp_credentials_file: str = _row(
        "",
        "Service account of the block gcp-credentials: its JSON file.",
        section="Google Cloud: the blocks gcp-credentials, gcs-bucket and bigquery-warehouse",
    )
    gcp_credentials_json: Secret = _row(Secret(""), "The same as JSON itself; kept as a secret.")
    gcp_project: str = _row("", "Google Cloud project; by itself, with the machine's own credentials.")
    gcs_bucket: str = _row("", "Bucket of the block gcs-bucket, without gs://.")
    gcs_prefix: str = _row("", "Folder in the bucket that the lake is in.")

    # No setting: the names of those that the environment or .env gives, and no option has overruled.
    from_environment: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def overruled_by(self, given: Mapping[str, Any]) -> Self:
        """Return the settings with the values of options or parameters put over them, by the settings' names."""
        return replace(self, **given, from_environment=self.from_environment - given.keys())

    def taken_by(self, command: Command) -> Self:
        """Return the settings as a command sees them: options that it does not take have their defaults."""
        others = OPTIONS - set(command.options)
        return replace(self, **{name: SETTINGS[name].default for name in others})

    @property
    def source_urls(self) -> dict[str, str]:
        """The base URL of each source that has one, by the source's name."""
        return {name: getattr(self, source.url_setting) for name, source in SOURCES.items() if source.base}


def _rows() -> dict[str, Setting]:
    rows: dict[str, Setting] = {}
    types, section = get_type_hints(Settings), ""
    for declared in fields(Settings):
        if declared.metadata:
            section = declared.metadata.get("section", section)
            more = {**declared.metadata, "section": section}
            rows[declared.name] = Setting(declared.name, types[declared.name], declared.default, **more)
    return rows


# Every setting by its name, in the order of ``.env.example``.
SETTINGS: Mapping[str, Setting] = _rows()
