"""Where a month's work is done: a folder of its own for the time of it, and the rejects that stay."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from nyctaxi_etl.core.claims import claimed, sweep
from nyctaxi_etl.core.disk import disk_errors_as
from nyctaxi_etl.core.errors import NycTaxiError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nyctaxi_etl.core.partition import Partition
    from nyctaxi_etl.pipelines.job import Job
    from nyctaxi_etl.staging.stage import Stage


def check_data_dir(job: Job) -> None:
    """See that the data folder can be written to, and make it if need be. Raises ``UsageError`` otherwise."""
    try:
        job.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=job.data_dir):
            pass
    except OSError as error:
        message = f"{job.data_dir} can't be written to: {error.strerror}."
        raise UsageError(message, "Name another folder with `data_dir=`.", about="data_dir") from error


@contextmanager
def workspace(job: Job, partition: Partition) -> Iterator[Path]:
    """Give a folder of its own for one month's work, gone afterwards.

    Raises ``NycTaxiError`` where the file system refuses one.
    """
    with ExitStack() as stack:
        with disk_errors(partition, job.data_dir):
            folder = stack.enter_context(own_folder(job.data_dir / "staging"))
        yield folder


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """Give a folder of its own in ``parent``, gone afterwards; remove those that a killed process has left."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    with claimed(parent) as folder:
        folder.mkdir()
        yield folder


def keep_rejects(stage: Stage, rejects: Path) -> Path | None:
    """Put a month's rejects where they stay, ``{rejects}/{color}/{stem}.parquet``, in place of an earlier load's."""
    kept = rejects / stage.partition.color / f"{stage.partition.stem}.parquet"
    if stage.rejects is None:
        kept.unlink(missing_ok=True)
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    sweep(kept.parent, f"{kept.name}.", ".part")
    with claimed(kept.parent, f"{kept.name}.", ".part") as partial:
        shutil.copyfile(stage.rejects, partial)
        partial.replace(kept)
    return kept


@contextmanager
def disk_errors(partition: Partition, folder: Path) -> Iterator[None]:
    """Turn what the file system refuses in a month's work into an error that names the month and the path."""
    hint = "Make room or give access there, or name another `data_dir=`."
    with disk_errors_as(NycTaxiError, folder, hint, subject=str(partition)):
        yield
