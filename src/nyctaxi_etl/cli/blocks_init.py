"""The command ``blocks-init``: register blocks, open them if asked to, and print what became of each."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import typer

from nyctaxi_etl.cli import console
from nyctaxi_etl.cli.errors import error_boundary, print_json
from nyctaxi_etl.cli.prefect_server import prefect_ready, waiting_note
from nyctaxi_etl.cli.spelling import hint_with_options
from nyctaxi_etl.core.report import EXIT_INCOMPLETE, EXIT_OK
from nyctaxi_etl.settings.commands import BLOCKS_INIT


def run_blocks_init(given: dict[str, Any]) -> None:
    """Run the command with the options that were ``given``.

    Raises:
        typer.Exit: Always, with the exit code: 1 if a block failed.
    """
    with error_boundary(BLOCKS_INIT, given) as settings:
        from nyctaxi_etl.orchestration import blocks
        from nyctaxi_etl.orchestration.jobs import google_of

        is_configured = blocks.is_configured(settings)
        if is_configured:
            console.say(waiting_note())
        with prefect_ready(settings) if is_configured else nullcontext():
            statuses = blocks.register(settings)
            statuses = blocks.check(statuses, google_of(settings)) if settings.check else statuses
        statuses = tuple(replace(status, note=hint_with_options(status.note)) for status in statuses)
        code = EXIT_INCOMPLETE if any(status.is_failed for status in statuses) else EXIT_OK
        if settings.json:
            results = [vars(status) for status in statuses]
            print_json({"command": BLOCKS_INIT.name, "results": results, "exit_code": code})
        else:
            console.show_blocks(statuses)
        raise typer.Exit(code)
