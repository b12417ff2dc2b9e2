"""Rows as published become rows as declared: conform, clean by the rules, and account for every one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.readers.layout import Reject, for_people
from nyctaxi_etl.staging.arrays import array, numbers_in, scalar
from nyctaxi_etl.staging.arrow_types import arrow_type
from nyctaxi_etl.staging.files import arrow_schema
from nyctaxi_etl.staging.rejects import in_order, none_rejected, rejected
from nyctaxi_etl.transform.casts import Converted, convert
from nyctaxi_etl.transform.identity import Pickups, count_pickups
from nyctaxi_etl.transform.masks import any_of, count_marked, null_as_false
from nyctaxi_etl.transform.text_casts import is_blank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nyctaxi_etl.core.partition import Month
    from nyctaxi_etl.readers.layout import Rows
    from nyctaxi_etl.schema.columns import Dataset, Predicate


@dataclass(frozen=True)
class Cleaned:
    """A block's outcome: the rows to load, the rows rejected in the file's order, and what was counted on the way.

    ``unparsable`` of the rejects are no rule's: a value that doesn't cast, too few fields. ``fault`` is the first.
    """

    batch: pa.RecordBatch
    rejects: pa.RecordBatch
    unparsable: int
    fault: Reject | None
    flags: Counter[str]
    pickups: Pickups

    @property
    def read(self) -> int:
        """How many rows the block held."""
        return int(self.batch.num_rows + self.rejects.num_rows)


class _Fault(NamedTuple):
    """The rows of a published column whose values don't fit, and the values."""

    name: str
    mask: pa.Array
    values: pa.Array


def clean(rows: Rows, dataset: Dataset, month: Month) -> Cleaned:
    """Conform parsed rows to ``dataset``, apply its rules, and set aside what is not loaded with its reason.

    ``Cleaned.read`` equals the number of lines that the block held. Flags and unknown codes are counted of the rows
    that are kept.
    """
    arrays, faults, unknown = _conform(rows, dataset)
    batch = pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(dataset.columns))
    bad = any_of(*(fault.mask for fault in faults))
    drops = {rule.name: matches(rule.predicate, batch, month) for rule in dataset.rules if rule.action == "drop"}
    lost = any_of(bad, *drops.values())
    lost = lost if lost is not None and count_marked(lost) else None
    kept = batch if lost is None else _picked(batch, pc.invert(lost))
    flags = _unknown(unknown, lost)
    for rule in dataset.rules:
        if rule.action == "flag":
            flags[rule.name] += count_marked(matches(rule.predicate, kept, month))
    unparsable = in_order([_misfits(rows, faults, bad), rows.broken])
    rejects = in_order([unparsable, *_dropped(rows, drops, bad)])
    return Cleaned(kept, rejects, unparsable.num_rows, _first(unparsable), +flags, count_pickups(batch, month))


def _picked(batch: pa.RecordBatch, mask: pa.Array) -> pa.RecordBatch:
    """Return the rows that a mask marks.

    Columns of nulls alone, of which a month has up to ten, are made anew: Arrow takes four times as long to filter
    them as all others.
    """
    is_null = [column.null_count == batch.num_rows for column in batch.columns]
    names = [name for name, null in zip(batch.schema.names, is_null, strict=True) if not null]
    rows = count_marked(mask)
    filled = iter(batch.select(names).filter(mask).columns)
    columns = [
        pa.nulls(rows, field.type) if null else next(filled) for field, null in zip(batch.schema, is_null, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def matches(predicate: Predicate, batch: pa.RecordBatch, month: Month) -> pa.Array:
    """Evaluate a predicate on canonical rows: a boolean per row, never null."""
    left = batch.column(predicate.column)
    if predicate.operator == "outside month":
        start, end = (scalar(str(edge), left.type) for edge in (month.start, month.next.start))
        return null_as_false(pc.or_(pc.less(left, start), pc.greater_equal(left, end)))
    value = predicate.value
    right = batch.column(value) if isinstance(value, str) else scalar(str(value), left.type)
    compare = {"=": pc.equal, "<": pc.less}[predicate.operator]
    return null_as_false(compare(left, right))


def _conform(rows: Rows, dataset: Dataset) -> tuple[list[pa.Array], list[_Fault], list[tuple[str, pa.Array]]]:
    """Return the canonical arrays in order, what doesn't fit, and by column the rows with an unknown code."""
    arrays: list[pa.Array] = []
    faults: list[_Fault] = []
    unknown: list[tuple[str, pa.Array]] = []
    lost: pa.Array | None = None
    for column in dataset.columns:
        published = rows.columns.get(column.name, [])
        asked = published if column.type == "time" else [_without(values, lost) for values in published]
        converted = [convert(values, column) for values in asked] or [_absent(arrow_type(column), rows.count)]
        for values, result in zip(published, converted, strict=False):
            if result.bad is not None:
                faults.append(_Fault(column.name, result.bad, values))
                lost = any_of(lost, result.bad)
            if result.unknown is not None:
                unknown.append((column.name, result.unknown))
        arrays.append(converted[0].array if len(converted) == 1 else pc.coalesce(*(c.array for c in converted)))
    for index, values in enumerate(rows.surplus, start=1):
        if values.null_count < len(values) and count_marked(filled := pc.invert(is_blank(values))):
            faults.append(_Fault(f"surplus field {index}", filled, values))
    return arrays, faults, unknown


def _without(values: pa.Array, lost: pa.Array | None) -> pa.Array:
    """Leave out texts of rows that are set aside already, for an earlier column: one that doesn't cast costs ten.

    Times are asked for all the same: pickups are counted of every row.
    """
    if lost is None or values.type != pa.string():
        return values
    return pc.if_else(lost, scalar(None, pa.string()), values)


def _absent(kind: pa.DataType, rows: int) -> Converted:
    return Converted(pa.nulls(rows, kind))


def _misfits(rows: Rows, faults: list[_Fault], bad: pa.Array | None) -> pa.RecordBatch:
    """Set aside the rows with a value that doesn't fit, each with its first such value."""
    reasons: dict[int, str] = {}
    explained = None
    for name, mask, values in faults:
        where = pc.indices_nonzero(mask if explained is None else pc.and_not(mask, explained))
        explained = any_of(explained, mask)
        for index, value in zip(where.to_pylist(), for_people(values.take(where)), strict=True):
            reasons[index] = f"{name}: {str(value)[:80]!r} does not fit"
    if bad is None or not reasons:
        return none_rejected()
    lines, raw = rows.originals(numbers_in(pc.indices_nonzero(bad)))
    return rejected(array([reasons[index] for index in sorted(reasons)], pa.string()), lines, raw)


def _dropped(rows: Rows, drops: dict[str, pa.Array], bad: pa.Array | None) -> Iterator[pa.RecordBatch]:
    """Set aside the rows that a rule drops, each by the first that does."""
    gone = bad
    for name, mask in drops.items():
        new = mask if gone is None else pc.and_not(mask, gone)
        if count_marked(new):
            lines, raw = rows.originals(numbers_in(pc.indices_nonzero(new)))
            yield rejected(pa.repeat(scalar(name, pa.string()), len(lines)), lines, raw)
            gone = any_of(gone, new)


def _first(rejects: pa.RecordBatch) -> Reject | None:
    return (
        Reject(*(rejects.column(name)[0].as_py() for name in ("line", "reason", "raw"))) if rejects.num_rows else None
    )


def _unknown(masks: list[tuple[str, pa.Array]], lost: pa.Array | None) -> Counter[str]:
    flags: Counter[str] = Counter()
    for name, mask in masks:
        flags[f"unknown_{name}"] += count_marked(mask if lost is None else pc.and_not(mask, lost))
    return flags
