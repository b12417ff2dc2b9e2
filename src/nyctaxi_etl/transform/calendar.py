"""Times that every warehouse and Python can hold: of the years 1 to 9999, without a zone, in microseconds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.core.errors import SchemaDrift
from nyctaxi_etl.staging.arrays import scalar
from nyctaxi_etl.transform.masks import count_marked, null_as_false

_FIRST_TIME = "0001-01-01 00:00:00"
_LAST_TIME = "9999-12-31 23:59:59.999999"
_FIRST_DAY, _END_DAY = np.datetime64("0001-01-01"), np.datetime64("10000-01-01")


def cast_times(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Cast timestamps and dates; a zone is taken off, which leaves the time that its clocks showed.

    Times that no warehouse can hold are null, and marked in the mask, which is ``None`` if there are none. Raises
    ``SchemaDrift`` for a zone that is not known here.
    """
    if getattr(array.type, "tz", None):
        try:
            array = pc.local_timestamp(array)
        except pa.ArrowInvalid as error:
            message = f"A time came as {array.type}, a zone that is not known."
            raise SchemaDrift(message, "Save it without a zone.") from error
    outside = _outside_in_own_unit(array)
    if outside is not None:
        array = pc.if_else(outside, scalar(None, array.type), array)
    # Nanoseconds are cut off.
    return array.cast(wanted, safe=False), outside


def _outside_in_own_unit(times: pa.Array) -> pa.Array | None:
    """Mark times before the year 1 or after 9999, of which not all can be cast to microseconds."""
    unit = "D" if pa.types.is_date32(times.type) else getattr(times.type, "unit", "ms")
    if unit == "ns":  # these end in 2262
        return None
    first, end = (str(edge) for edge in np.array([_FIRST_DAY, _END_DAY]).astype(f"datetime64[{unit}]").astype(np.int64))
    numbers = times.cast(pa.int32() if unit == "D" else pa.int64()).cast(pa.int64())
    outside = pc.or_(pc.less(numbers, scalar(first, pa.int64())), pc.greater_equal(numbers, scalar(end, pa.int64())))
    return null_as_false(outside) if count_marked(outside) else None


def without_impossible(times: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Return times in microseconds, those before the year 1 or after 9999 null, and a mask of these, if any.

    Arrow can hold them, and reads them from text; a warehouse can't.
    """
    first, last = (scalar(edge, times.type) for edge in (_FIRST_TIME, _LAST_TIME))
    outside = pc.or_(pc.less(times, first), pc.greater(times, last))
    if not count_marked(outside):
        return times, None
    outside = null_as_false(outside)
    return pc.if_else(outside, scalar(None, times.type), times), outside
