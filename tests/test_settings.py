"""Settings from the environment and ``.env``, and what Prefect is told before it is imported."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from nyctaxi_etl import settings as config
from nyctaxi_etl.cli.app import app
from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.settings import SETTINGS
from nyctaxi_etl.settings.commands import COMMANDS
from nyctaxi_etl.sources.registry import SOURCES

if TYPE_CHECKING:
    from pathlib import Path

    from nyctaxi_etl.settings.commands import Command

TELEMETRY = "PREFECT_SERVER_ANALYTICS_ENABLED"
SECRET = "s3cr3t-pw"  # noqa: S105 - nobody's


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read nobody's settings: an empty folder, and an environment without ours and Prefect's."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("NYCTAXI_", "PREFECT_", "DO_NOT_TRACK"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    # What a call sets is taken back with the test.
    for name in (TELEMETRY, "DO_NOT_TRACK", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name in ("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_defaults() -> None:
    """Without any setting the defaults are those of the help."""
    found = config.settings()
    assert (found.months, found.source, found.to, found.jobs, str(found.data_dir)) == (
        *("1-12", "tlc", "duckdb", 2),
        "data",
    )
    assert not any((found.force, found.dry_run, found.json, found.direct, found.verbose, found.debug, found.check))


def test_each_source_with_an_address_has_a_setting_for_it() -> None:
    """So that a team can name a mirror of it."""
    addresses = {source.url_setting: source.base for source in SOURCES.values() if source.base}
    assert {name: SETTINGS[name].default for name in addresses} == addresses
    assert config.settings().source_urls.keys() == {name for name, source in SOURCES.items() if source.base}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=str)
def test_options_are_settings(command: Command) -> None:
    """An option of a command is a setting of its name: its sentence and default are in the help."""
    app_command: Any = get_command(app)
    options = {option.name: option for option in app_command.commands[command.name].params}
    assert tuple(options) == command.options
    for name, option in options.items():
        row = SETTINGS[name]
        assert option.opts == [row.option]
        assert option.secondary_opts == ([f"--no-{row.option[2:]}"] if row.type is bool else [])
        assert option.help.startswith(row.about_for(command.name))
        assert (f"[default: {row.default_text}]" in option.help) == (row.type is not bool and row.default_text != "")


def test_what_overrules_a_setting() -> None:
    """An option is put over the setting of its name, which is no longer the environment's."""
    found = replace(config.settings(), from_environment=frozenset({"to", "year"})).overruled_by({"to": "bigquery"})
    assert (found.to, found.from_environment) == ("bigquery", frozenset({"year"}))


def test_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over .env; names are read without case; other programs' lines are nobody's business."""
    (tmp_path / ".env").write_text("NYCTAXI_COLOR=green\nnyctaxi_jobs=3\nSECRET_OF_ANOTHER=1\nNYCTAXI_JSON=yes\n")
    monkeypatch.setenv("NYCTAXI_COLOR", "yellow")
    found = config.settings()
    assert (found.color, found.jobs, found.json) == ("yellow", 3, True)
    assert config.output_settings().json


def test_an_empty_line_sets_nothing(tmp_path: Path) -> None:
    """A line that is left empty in a copy of .env.example is as good as none."""
    (tmp_path / ".env").write_text("NYCTAXI_JOBS=\nNYCTAXI_POSTGRES_PORT=\nNYCTAXI_DIRECT=\n")
    found = config.settings()
    assert (found.jobs, found.postgres_port, found.direct) == (2, 5432, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("JOBS", SECRET), ("JOBS", "65"), ("JSON", SECRET), ("POSTGRES_PORT", "0"), ("MAX_UNPARSABLE", "5")],
)
def test_wrong_settings_are_named_without_their_value(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wrong setting is named as users write it, with what it should be, never with what it is."""
    monkeypatch.setenv(f"NYCTAXI_{name}", value)
    with pytest.raises(UsageError) as caught:
        config.settings()
    assert f"NYCTAXI_{name}: Input should be" in caught.value.message
    assert SECRET not in str(caught.value) + caught.value.hint
    assert ".env" in caught.value.hint


def test_how_to_answer_is_known_where_all_else_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``output_settings`` reads json and debug alone, and is the default where those are wrong themselves."""
    monkeypatch.setenv("NYCTAXI_JOBS", "many")
    monkeypatch.setenv("NYCTAXI_DEBUG", "1")
    assert config.output_settings().debug
    monkeypatch.setenv("NYCTAXI_JSON", "perhaps")
    assert (config.output_settings().json, config.output_settings().debug) == (False, False)
    (tmp_path / ".env").write_bytes(b"NYCTAXI_POSTGRES_PASSWORD=\xff\n")
    assert not config.output_settings().json


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """A .env in another encoding is a usage error, not a bug, and shows nothing of what it holds."""
    (tmp_path / ".env").write_bytes(f"NYCTAXI_POSTGRES_PASSWORD={SECRET}\n".encode("utf-16"))
    with pytest.raises(UsageError, match=r"^\.env can't be read"):
        config.settings()


def test_the_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither printing nor dumping the settings shows the password."""
    monkeypatch.setenv("NYCTAXI_POSTGRES_PASSWORD", SECRET)
    found = config.settings()
    assert found.postgres_password.get_secret_value() == SECRET
    assert SECRET not in f"{found!r} {found} {asdict(found)}"


def test_telemetry_is_off() -> None:
    """Prefect's telemetry is off, of the server and of its clients, where the user has said nothing."""
    config.prepare_prefect(console=False)
    assert (os.environ[TELEMETRY], os.environ["DO_NOT_TRACK"]) == ("false", "1")
    assert int(os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"]) >= 60


def test_telemetry_as_the_user_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user said, in the environment or in a file that Prefect reads, stays as it is."""
    monkeypatch.setenv(TELEMETRY, "true")
    config.prepare_prefect(console=False)
    assert os.environ[TELEMETRY] == "true"
    assert "DO_NOT_TRACK" not in os.environ
    monkeypatch.delenv(TELEMETRY)
    texts = {
        "prefect/profiles.toml": f'active = "mine"\n[profiles.mine]\n{TELEMETRY} = "true"\n',
        "prefect.toml": "[server]\nanalytics_enabled = true\n",
        "pyproject.toml": "[tool.prefect.server]\nanalytics_enabled = true\n",
        ".env": f"{TELEMETRY}=true\n",
    }
    for name, text in texts.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        config.prepare_prefect(console=False)
        assert TELEMETRY not in os.environ, name
        assert "DO_NOT_TRACK" not in os.environ, name
        file.unlink()


def test_prefect_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No home, or one that can't be written to, is refused at once; a file of Prefect's may name another."""
    monkeypatch.delenv("PREFECT_HOME")
    (tmp_path / "home").write_text("a file, so that there can be no folder in it")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="can't be written to: Not a directory") as raised:
        config.prepare_prefect(console=False, instead="or use --direct")
    assert str(tmp_path / "home" / ".prefect") in raised.value.message
    assert raised.value.hint == "Set PREFECT_HOME to a folder that you may write to, or use --direct."
    (tmp_path / "pyproject.toml").write_text("[project]\nhomepage = 'x'\n")
    with pytest.raises(UsageError):
        config.prepare_prefect(console=False)
    (tmp_path / "prefect.toml").write_text(f"home = '{tmp_path / 'other'}'\n")
    config.prepare_prefect(console=False)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the machine doesn't know, as in some containers, is told what to set."""
    pwd = pytest.importorskip("pwd")

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("PREFECT_HOME")
    monkeypatch.delenv("HOME", raising=False)
    with pytest.raises(UsageError, match="HOME isn't set") as raised:
        config.prepare_prefect(console=False)
    assert raised.value.hint == "Set PREFECT_HOME to a folder that you may write to."


def test_prefects_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's log is kept off the console unless it is wanted, and what the user set stays."""
    name = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
    config.prepare_prefect(console=True)
    assert name not in os.environ
    monkeypatch.setenv(name, "WARNING")
    config.prepare_prefect(console=False)
    assert os.environ[name] == "WARNING"


def test_a_server_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """PREFECT_API_URL names a server, so that none is started."""
    assert not config.has_prefect_server()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert config.has_prefect_server()


@pytest.mark.parametrize("limit", ["1", "10485759", "-1"])
def test_a_limit_below_what_bigquery_bills_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every query would fail: "with a minimum 10 MB data processed per query" (cloud.google.com/bigquery/pricing).

    Its page on costs has the error: "Query exceeded limit for bytes billed: 1000000. 10485760 or higher required."
    """
    monkeypatch.setenv("NYCTAXI_BIGQUERY_MAX_BYTES", limit)
    with pytest.raises(UsageError, match="NYCTAXI_BIGQUERY_MAX_BYTES"):
        config.settings()


@pytest.mark.parametrize("limit", [0, 10_485_760])
def test_the_least_limit_is_taken(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is none."""
    monkeypatch.setenv("NYCTAXI_BIGQUERY_MAX_BYTES", str(limit))
    assert config.settings().bigquery_max_bytes == limit


@pytest.mark.parametrize(
    ("written", "read", "said"),
    [
        (f"{SECRET} #b", SECRET, "follows a blank and #"),
        (f" #{SECRET}", "", "follows a blank and #"),
        (f"{SECRET}${{HOME}}x", f"{SECRET}/homex", r"\$\{...\} is replaced"),
        (f"'{SECRET}${{HOME}}x'", f"{SECRET}/homex", r"\$\{...\} is replaced"),
        (f'"{SECRET}"', SECRET, "double quotes around it"),
        (f"{SECRET} ", SECRET, "blanks at its end"),
        (f"'{SECRET}\nNYCTAXI_TABLE=o'", f"{SECRET}\nNYCTAXI_TABLE=o", "closing quotation mark is on a later line"),
    ],
)
def test_what_is_read_otherwise_is_told(
    written: str, read: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning names the setting, its line and the way to write it, and never its value."""
    monkeypatch.setenv("HOME", "/home")
    (tmp_path / ".env").write_text(f"# ours\nNYCTAXI_POSTGRES_PASSWORD={written}\n")
    assert config.settings().postgres_password.get_secret_value() == read
    (warning,) = config.warnings()
    assert re.search(rf"^NYCTAXI_POSTGRES_PASSWORD in \.env, line 2: .*{said}", warning)
    assert SECRET not in warning


@pytest.mark.parametrize("written", [f"'{SECRET}", f"'it's {SECRET}'", f'"{SECRET}'])
def test_what_can_not_be_read_is_refused(written: str, tmp_path: Path) -> None:
    """An open quotation mark loses the setting: a default in its place would be the wrong one."""
    (tmp_path / ".env").write_text(f"NYCTAXI_POSTGRES_PASSWORD={written}\n")
    with pytest.raises(UsageError, match=r"^NYCTAXI_POSTGRES_PASSWORD in \.env, line 1: it can't be read") as caught:
        config.settings()
    assert SECRET not in caught.value.message + caught.value.hint


def test_what_is_read_as_it_stands_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quoted on purpose, plain, empty, no text, another program's, or overruled by the environment."""
    (tmp_path / ".env").write_text(
        "NYCTAXI_POSTGRES_PASSWORD='a #b \"c\" $x'\nexport NYCTAXI_TO=duckdb\nNYCTAXI_TABLE = a#b\r\nNYCTAXI_LAKE=\n"
        'NYCTAXI_JOBS=3 # three\nOTHER="x"\nNYCTAXI_SOURCE="sample"\n'
    )
    monkeypatch.setenv("nyctaxi_source", "tlc")
    assert config.settings().postgres_password.get_secret_value() == 'a #b "c" $x'
    assert config.settings().source == "tlc"
    assert config.warnings() == ()


@pytest.mark.parametrize("password", ["a #b", "'x", '"q"', "trailing ", "it's", "back\\slash\\\\", " #", "$HOME", "é€"])
def test_the_way_to_write_it_is_true(password: str, tmp_path: Path) -> None:
    """In single quotes, with backslashes as the warning says, a value is read as it is."""
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    (tmp_path / ".env").write_text(f"NYCTAXI_POSTGRES_PASSWORD='{quoted}'\n", encoding="utf-8")
    assert config.settings().postgres_password.get_secret_value() == password
    assert config.warnings() == ()
