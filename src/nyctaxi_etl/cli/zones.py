"""The command ``zones``: bring the lookup of zones, or say where it would go, and print what became of it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from nyctaxi_etl.cli import console
from nyctaxi_etl.cli.errors import error_boundary, print_json
from nyctaxi_etl.cli.prefect_server import prefect_ready, waiting_note
from nyctaxi_etl.settings.commands import ZONES


def run_zones(given: dict[str, Any]) -> None:
    """Run the command with the options that were ``given``."""
    with error_boundary(ZONES, given) as settings:
        from nyctaxi_etl.orchestration.connections import lake_of, needs_prefect, warehouse_of
        from nyctaxi_etl.orchestration.jobs import check, job_of
        from nyctaxi_etl.pipelines.workspace import check_data_dir
        from nyctaxi_etl.pipelines.zones import load_zones, zones_report

        job = job_of(ZONES, settings, run_id="")
        check(job)
        lookup = None
        if not settings.dry_run:
            check_data_dir(job)
            by_block = needs_prefect(job)
            if by_block:
                console.say(waiting_note())
            with prefect_ready(settings) if by_block else nullcontext():
                lookup = load_zones(job, lake_of, warehouse_of)
        report = zones_report(job, lookup)
        if settings.json:
            print_json(report)
        else:
            console.show_lookup(report)
