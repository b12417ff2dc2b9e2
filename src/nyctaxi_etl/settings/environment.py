"""Settings are read from the environment and ``.env``: here, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.core.secret import Secret
from nyctaxi_etl.settings.declared import SETTINGS, Settings
from nyctaxi_etl.settings.dotenv_file import misreadings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nyctaxi_etl.settings.declared import Setting
    from nyctaxi_etl.settings.dotenv_file import Misreading

_FILE = Path(".env")
_PREFIX = "nyctaxi_"


class OutputSettings(NamedTuple):
    """How a command answers: known even where the other settings are wrong."""

    json: bool = False
    debug: bool = False


def settings() -> Settings:
    """Return the settings of the environment and of ``.env``, where the environment wins.

    Raises:
        UsageError: A setting is wrong; each is named, and its value is not.
    """
    from pydantic import ValidationError

    try:
        given = _read(SETTINGS.values())
        lost = [str(one) for one in _misreadings() if one.is_lost]
    except ValidationError as error:
        wrong = "; ".join(f"{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        message = f"A setting is wrong. {wrong}."
        raise UsageError(message, "Look in the environment and in .env; .env.example shows every setting.") from None
    except (OSError, UnicodeDecodeError) as error:
        message = f".env can't be read: {getattr(error, 'reason', '') or getattr(error, 'strerror', '')}."
        raise UsageError(message, "It has a line NAME=value for each setting, in UTF-8.") from None
    if lost:
        raise UsageError(lost[0], "Or set it in the environment, which is always taken as it is.")
    return Settings(**given, from_environment=frozenset(given))


def output_settings() -> OutputSettings:
    """Return how to answer; where that is wrong itself, plainly."""
    from pydantic import ValidationError

    try:
        return OutputSettings(**_read(SETTINGS[name] for name in OutputSettings._fields))
    except (ValidationError, OSError, UnicodeDecodeError):
        return OutputSettings()


def warnings() -> tuple[str, ...]:
    """Return which settings in ``.env`` are read otherwise than they stand there, and how to write them."""
    return tuple(str(one) for one in _misreadings() if not one.is_lost)


def storage_emulator() -> str:
    """Return the address of a server that stands in for Google Cloud Storage, empty if there is none."""
    return os.environ.get("STORAGE_EMULATOR_HOST", "")


def bigquery_emulator() -> str:
    """Return the address of a server that stands in for BigQuery, empty if there is none."""
    return os.environ.get("BIGQUERY_EMULATOR_HOST", "")


def _read(rows: Iterable[Setting]) -> dict[str, Any]:
    """Return what the environment and ``.env`` have for these rows, by the settings' names."""
    from pydantic import create_model
    from pydantic_settings import BaseSettings, SettingsConfigDict

    class Reader(BaseSettings):
        model_config = SettingsConfigDict(
            env_file=_FILE,
            env_file_encoding="utf-8",
            env_ignore_empty=True,  # a line left empty in a copy of .env.example sets nothing
            extra="ignore",
            hide_input_in_errors=True,
        )

    fields: dict[str, Any] = {f"{_PREFIX}{row.name}": (_checked_type(row), row.default) for row in rows}
    read = create_model("Reader", __base__=Reader, **fields)()
    return {name.removeprefix(_PREFIX): getattr(read, name) for name in read.model_fields_set}


def _checked_type(row: Setting) -> Any:
    from pydantic import AfterValidator, Field, PlainValidator

    if row.type is Secret:
        return Annotated[Any, PlainValidator(lambda text: text if isinstance(text, Secret) else Secret(text))]
    checks = [AfterValidator(row.check)] if row.check else []
    return Annotated[row.type, Field(ge=row.low, le=row.high), *checks]


def _misreadings() -> tuple[Misreading, ...]:
    """Look at the texts in ``.env`` that count: other settings can't be misread unnoticed, and the environment wins."""
    texts = {row.variable for row in SETTINGS.values() if row.is_text}
    counting = texts - {name.upper() for name, value in os.environ.items() if value}
    return misreadings(_FILE.read_text("utf-8"), counting) if _FILE.is_file() else ()
