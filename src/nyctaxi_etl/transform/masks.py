"""Marks of rows: boolean arrays, one value a row. Where a function takes or returns ``None``, no row is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.arrays import scalar

if TYPE_CHECKING:
    from collections.abc import Sequence


def mask_of(marks: Sequence[bool]) -> pa.Array:
    """Return a mask of these marks."""
    return array_of([str(mark) for mark in marks], pa.bool_())


def any_of(*masks: pa.Array | None) -> pa.Array | None:
    """Return the rows that at least one of the masks marks."""
    result = None
    for mask in masks:
        if mask is not None:
            result = mask if result is None else pc.or_(result, mask)
    return result


def null_as_false(mask: pa.Array) -> pa.Array:
    """Return a mask in which a row is not marked where it isn't known: a comparison with null is null."""
    return pc.fill_null(mask, scalar("false", pa.bool_()))


def count_marked(mask: pa.Array) -> int:
    """Return how many rows a mask marks."""
    return int(mask.true_count)
