"""The commands as Prefect flows: their parameters, which are the settings of their names, typed and checked."""

# Annotations are values here: a served flow is pickled for the process of its run, and names in texts get lost.

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

from prefect import Flow
from pydantic import Field

from nyctaxi_etl.core.addresses import PATTERN, refuse_secret
from nyctaxi_etl.core.partition import Color, Mode
from nyctaxi_etl.core.report import LoadReport
from nyctaxi_etl.orchestration.flow_run import Selection, flow_run_name, run_flow
from nyctaxi_etl.settings import SETTINGS, Settings
from nyctaxi_etl.settings.commands import INGEST, UPLOAD, WAREHOUSE

if TYPE_CHECKING:
    from collections.abc import Callable

_SOME = Field(min_length=1)

MonthNumber = Annotated[int, Field(ge=1, le=12)]
Year = Annotated[int, Field(ge=2009, le=2100)]
Colors = Annotated[list[Color], _SOME]
Years = Annotated[list[Year], _SOME]
Months = Annotated[list[MonthNumber], _SOME]
Jobs = Annotated[int, Field(ge=SETTINGS["jobs"].low, le=SETTINGS["jobs"].high)]
# Checked by Prefect's server, before it keeps a deployment's parameters.
Address = Annotated[str, Field(json_schema_extra={"pattern": PATTERN})]

_ADDRESSES = frozenset({"source", "to", "lake"})

P = ParamSpec("P")
R = TypeVar("R")


class _Addressed(Flow[P, R]):
    """A flow whose addresses are looked at before Prefect's server is told of a call: it would keep a password."""

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as the server keeps them. Raises ``UsageError`` for an address with a password."""
        for name in _ADDRESSES & parameters.keys():
            refuse_secret(name, str(parameters[name]))
        return super().serialize_parameters(parameters)


def _flow(function: "Callable[P, LoadReport]") -> Flow[P, LoadReport]:
    """Return a function as a flow of its name, whose parameters are described as the settings of their names are.

    Prefect takes the descriptions, which its UI shows, from the docstring.
    """
    rows = [SETTINGS[name] for name in inspect.signature(function).parameters]
    described = (f"    {row.name}: {row.about_list or row.about_for(function.__name__)}" for row in rows)
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    function.__doc__ = "\n".join([summary, "", "Args:", *described, "", rest])
    return _Addressed(function, flow_run_name=flow_run_name, validate_parameters=True, persist_result=False)


@_flow
def ingest(  # noqa: PLR0913 - a flow's parameters are its form in Prefect's UI
    color: Colors,
    year: Years,
    months: Months,
    *,
    source: Address = Settings.source,
    to: Address = Settings.to,
    table: str | None = None,
    jobs: Jobs = Settings.jobs,
    force: bool = Settings.force,
    data_dir: Path = Settings.data_dir,
) -> LoadReport:
    """Bring months of trips from a source into a warehouse, each atomically.

    Returns:
        The load report.

    Raises:
        IncompleteRun: A month failed or is missing; it carries the report.
        UsageError: An argument can't be.
    """
    given = {"source": source, "to": to, "table": table or "", "force": force, "data_dir": data_dir}
    return run_flow(INGEST, Selection(color, year, months, jobs), given)


@_flow
def upload(  # noqa: PLR0913 - as above
    color: Colors,
    year: Years,
    months: Months,
    *,
    source: Address = Settings.source,
    lake: Address = Settings.lake,
    mode: Mode = Settings.mode,
    raw: bool = Settings.raw,
    jobs: Jobs = Settings.jobs,
    force: bool = Settings.force,
    data_dir: Path = Settings.data_dir,
) -> LoadReport:
    """Bring months of trips from a source into the lake, each atomically.

    Returns:
        The load report.

    Raises:
        IncompleteRun: A month failed or is missing; it carries the report.
        UsageError: An argument can't be.
    """
    given = {"source": source, "lake": lake, "mode": mode, "raw": raw, "force": force, "data_dir": data_dir}
    return run_flow(UPLOAD, Selection(color, year, months, jobs), given)


@_flow
def warehouse(  # noqa: PLR0913 - as above
    color: Colors,
    year: Years,
    months: Months,
    *,
    lake: Address = Settings.lake,
    to: Address = Settings.to,
    table: str | None = None,
    mode: Mode = Settings.mode,
    jobs: Jobs = Settings.jobs,
    force: bool = Settings.force,
    data_dir: Path = Settings.data_dir,
) -> LoadReport:
    """Bring months of trips from the lake into a warehouse, each atomically.

    Returns:
        The load report.

    Raises:
        IncompleteRun: A month failed or is missing; it carries the report.
        UsageError: An argument can't be.
    """
    given = {"lake": lake, "to": to, "table": table or "", "mode": mode, "force": force, "data_dir": data_dir}
    return run_flow(WAREHOUSE, Selection(color, year, months, jobs), given)


FLOWS: dict[str, Flow[..., LoadReport]] = {flow.name: flow for flow in (ingest, upload, warehouse)}
