"""Arguments as the command line spells them: ``--to`` where Python has ``to=``, or the setting that gave the value.

Errors name their argument by ``about``; hints quote arguments in backticks, as Python writes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nyctaxi_etl.core.errors import Bug, UsageError
from nyctaxi_etl.settings.commands import OPTIONS
from nyctaxi_etl.settings.declared import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Collection

    from nyctaxi_etl.core.errors import NycTaxiError
    from nyctaxi_etl.core.report import Failure, LoadReport

_BUG = "This is a bug in nyctaxi: run again with --debug and report what it prints."


def message_of(error: NycTaxiError, from_environment: Collection[str] = ()) -> str:
    """Return an error's message, before it the option that it is about, or the setting if that gave the value."""
    about = error.about if isinstance(error, UsageError) else ""
    row = SETTINGS.get(about)
    if row is None:
        return error.message
    is_option = about in OPTIONS and about not in from_environment
    return f"{row.option if is_option else row.variable} {error.message}"


def hint_with_options(hint: str) -> str:
    """Return a hint with ``--to duckdb:///path`` where it quotes the argument ``to=duckdb:///path``."""
    parts = hint.split("`")
    if len(parts) % 2 == 0:  # a backtick is left open: it came with a name
        return hint
    return "".join(_option(part) if number % 2 else part for number, part in enumerate(parts))


def failure_with_options(failure: Failure) -> Failure:
    """Return a failure whose hint speaks of options."""
    return replace(failure, hint=_BUG if failure.type == Bug.__name__ else hint_with_options(failure.hint))


def report_with_options(report: LoadReport) -> LoadReport:
    """Return a report whose months' hints speak of options."""
    failures = ((result, result.failure) for result in report.results)
    return replace(
        report,
        results=tuple(
            replace(result, failure=failure_with_options(failure)) if failure else result
            for result, failure in failures
        ),
    )


def _option(code: str) -> str:
    name, equals, value = code.partition("=")
    if not equals or name not in OPTIONS:
        return f"`{code}`"
    row = SETTINGS[name]
    return f"{row.option} {value}".rstrip() if row.type is not bool else row.option
