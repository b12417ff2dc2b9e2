"""Rows as published become rows as declared: conform, clean by the rules, and account for every one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.errors import SchemaDrift
from nyctaxi_etl.reading import Reject
from nyctaxi_etl.stagefile import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nyctaxi_etl.model import Month
    from nyctaxi_etl.reading import Rows
    from nyctaxi_etl.schema import Column, Dataset, Predicate

REJECTS = pa.schema([("reason", pa.string()), ("line", pa.int64()), ("raw", pa.string())])
_NULL_WORDS = ("", "nan", "null")
_INT16 = "int16"


class Converted(NamedTuple):
    """A column in its declared type. ``bad`` marks rows whose value doesn't cast; ``unknown`` counts unknown codes."""

    array: pa.Array
    bad: pa.Array | None = None
    unknown: int = 0


@dataclass(frozen=True)
class Cleaned:
    """A block's outcome: the rows to load, the rows rejected, and what was counted on the way.

    ``unparsable`` of the rejects are no rule's: a value that doesn't cast, too few fields.
    """

    batch: pa.RecordBatch
    rejects: list[Reject]
    unparsable: int
    flags: Counter[str]

    @property
    def read(self) -> int:
        """How many rows the block held."""
        return int(self.batch.num_rows) + len(self.rejects)


def clean(rows: Rows, dataset: Dataset, month: Month) -> Cleaned:
    """Conform parsed rows to ``dataset``, apply its rules, and set aside what is not loaded with its reason.

    ``Cleaned.read`` equals the number of lines that the block held.
    """
    flags: Counter[str] = Counter()
    arrays, faults = _conform(rows, dataset, flags)
    batch = pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(dataset.columns))
    bad = _faulty(faults, rows.count)
    drops = {rule.name: matches(rule.predicate, batch, month) for rule in dataset.rules if rule.action == "drop"}
    reasons = _reasons(rows, faults, bad, drops)
    kept = batch.filter(pc.invert(_either([bad, *drops.values()]))) if reasons else batch
    for rule in dataset.rules:
        if rule.action == "flag":
            flags[rule.name] += _count(matches(rule.predicate, kept, month))
    originals = rows.originals(list(reasons)) if reasons else []
    rejects = [Reject(line, why, raw) for (line, raw), why in zip(originals, reasons.values(), strict=True)]
    return Cleaned(kept, rejects + rows.broken, _count(bad) + len(rows.broken), +flags)


def matches(predicate: Predicate, batch: pa.RecordBatch, month: Month) -> pa.Array:
    """Evaluate a predicate on canonical rows: a boolean per row, never null."""
    left = batch.column(predicate.column)
    if predicate.operator == "outside month":
        early = pc.less(left, pa.scalar(month.start, left.type))
        late = pc.greater_equal(left, pa.scalar(month.next.start, left.type))
        return pc.fill_null(pc.or_(early, late), fill_value=False)
    value = predicate.value
    right = batch.column(value) if isinstance(value, str) else pa.scalar(value, left.type)
    compare = {"=": pc.equal, "<": pc.less}[predicate.operator]
    return pc.fill_null(compare(left, right), fill_value=False)


def convert(array: pa.Array, column: Column) -> Converted:
    """Cast one published column, of whatever type it came in, to its declared type.

    A value of a code or flag column that means nothing is null and counted; any other that doesn't cast is marked bad.
    Raises ``SchemaDrift`` if the whole column is of a type that can't mean this.
    """
    if pa.types.is_null(array.type):
        return Converted(pa.nulls(len(array), _arrow(column)))
    read = _FROM_TEXT[column.type] if _is_text(array.type) else _from_values
    converted = read(array, column)
    return _null_unknown_codes(converted) if column.type == "code" else converted


def _conform(
    rows: Rows, dataset: Dataset, flags: Counter[str]
) -> tuple[list[pa.Array], dict[str, tuple[pa.Array, pa.Array]]]:
    """Return the canonical arrays in order, and by name (bad mask, original values) of columns with bad values."""
    arrays: list[pa.Array] = []
    faults: dict[str, tuple[pa.Array, pa.Array]] = {}
    for column in dataset.columns:
        published = rows.columns.get(column.name, [])
        converted = [convert(array, column) for array in published] or [Converted(pa.nulls(rows.count, _arrow(column)))]
        for original, result in zip(published, converted, strict=False):
            flags[f"unknown_{column.name}"] += result.unknown
            if result.bad is not None:
                faults[column.name] = (result.bad, original)
        arrays.append(converted[0].array if len(converted) == 1 else pc.coalesce(*(c.array for c in converted)))
    for index, array in enumerate(rows.surplus):
        if array.null_count < len(array) and _count(filled := pc.invert(_blank(array))):
            faults[f"surplus field {index + 1}"] = (filled, array)
    return arrays, faults


def _reasons(
    rows: Rows, faults: dict[str, tuple[pa.Array, pa.Array]], bad: pa.Array, drops: dict[str, pa.Array]
) -> dict[int, str]:
    """Return, by row, why it is not loaded: its first bad value, or the first rule that drops it."""
    reasons: dict[int, str] = {}
    for name, (mask, original) in faults.items():
        where = pc.indices_nonzero(mask)
        for index, value in zip(where.to_pylist(), original.take(where).to_pylist(), strict=True):
            reasons.setdefault(index, f"{name}: {str(value)[:80]!r} does not fit")
    for name, mask in drops.items():
        for index in pc.indices_nonzero(pc.and_not(mask, bad)).to_pylist():
            reasons.setdefault(index, name)
    return dict(sorted(reasons.items())) if rows.count else {}


def _faulty(faults: dict[str, tuple[pa.Array, pa.Array]], count: int) -> pa.Array:
    return _either([mask for mask, _ in faults.values()]) if faults else pa.repeat(pa.scalar(value=False), count)


def _either(masks: Sequence[pa.Array]) -> pa.Array:
    result = masks[0]
    for mask in masks[1:]:
        result = pc.or_(result, mask)
    return result


def _text_values(array: pa.Array, column: Column) -> Converted:
    """Text, flags and codes: trimmed, mapped word by word; there are few distinct ones, so each is looked at once."""
    encoded = array if pa.types.is_dictionary(array.type) else array.cast(pa.string()).dictionary_encode()
    words = [_word(value, column) for value in encoded.dictionary.to_pylist()]
    return _mapped(
        encoded, [word if isinstance(word, str) else None for word in words], [w is False for w in words], column
    )


def _code_values(array: pa.Array, column: Column) -> Converted:
    encoded = array if pa.types.is_dictionary(array.type) else array.cast(pa.string()).dictionary_encode()
    texts = [column.codes.get(text.strip().upper(), text.strip()) for text in encoded.dictionary.to_pylist()]
    numbers = [_small(text) for text in texts]
    bad = [number is None and text.lower() not in _NULL_WORDS for number, text in zip(numbers, texts, strict=True)]
    return _mapped(encoded, numbers, bad, column)


def _mapped(
    encoded: pa.DictionaryArray, values: list[str | None] | list[int | None], bad: list[bool], column: Column
) -> Converted:
    indices = encoded.indices
    array = pa.array(values, _arrow(column)).take(indices)
    if not any(bad):
        return Converted(array)
    mask = pc.fill_null(pa.array(bad).take(indices), fill_value=False)
    return Converted(array, None, _count(mask)) if column.type == "flag" else Converted(array, mask)


def _word(text: str, column: Column) -> str | bool | None:
    """Return the canonical text, ``None`` for a blank, ``False`` for an unknown flag or text that can't be stored."""
    trimmed = text.strip()
    if not trimmed:
        return None
    if column.codes:
        return column.codes.get(trimmed.upper(), False)
    return False if "\x00" in trimmed else trimmed


def _small(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < 1 << 15 else None


def _number_values(array: pa.Array, column: Column) -> Converted:
    numbers, bad = _cast_each(_trimmed(array), pa.float64())
    converted = _from_floats(numbers, column)
    return Converted(converted.array, _or_none(bad, converted.bad))


def _time_values(array: pa.Array, column: Column) -> Converted:
    text = _trimmed(array)
    # Fractions finer than a microsecond are cut off; official files have none, copies made with pandas do.
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+$", r"\1")
    times, bad = _cast_each(text, _arrow(column))
    return Converted(times, bad)


def _from_values(array: pa.Array, column: Column) -> Converted:
    """Cast numbers, times and booleans as Parquet types them."""
    kind, wanted = array.type, _arrow(column)
    if pa.types.is_string(wanted):
        return _text_values(array.cast(pa.string()), column)
    if pa.types.is_temporal(kind) and pa.types.is_timestamp(wanted):
        local = pc.local_timestamp(array) if pa.types.is_timestamp(kind) and kind.tz else array
        return Converted(local.cast(wanted, safe=False))
    if not _is_number(kind) or pa.types.is_timestamp(wanted):
        message = f"{column.name} came as {kind}, which can't mean it."
        raise SchemaDrift(message, f"Expected {wanted} or text.")
    if kind == wanted and pa.types.is_integer(kind):
        return Converted(array)
    return _from_floats(array.cast(pa.float64(), safe=False), column)


def _from_floats(array: pa.Array, column: Column) -> Converted:
    """Cast doubles; not-a-number is null, and a whole number must be whole and in range."""
    wanted = _arrow(column)
    nan = pc.is_nan(array)
    if _count(pc.fill_null(nan, fill_value=False)):
        array = pc.if_else(nan, pa.scalar(None, array.type), array)
    if pa.types.is_floating(wanted):
        return Converted(array)
    limit = (1 << 15) if column.types.arrow == _INT16 else (1 << 31)
    fits = pc.and_(pc.equal(pc.trunc(array), array), pc.less(pc.abs(array), pa.scalar(float(limit))))
    bad = pc.fill_null(pc.invert(fits), fill_value=False)
    if not _count(bad):
        return Converted(array.cast(wanted, safe=False))
    return Converted(pc.if_else(bad, pa.scalar(None, array.type), array).cast(wanted, safe=False), bad)


def _null_unknown_codes(converted: Converted) -> Converted:
    """Turn bad values of a code column, null already, into a count: an unknown code is no reason to lose a trip."""
    return converted if converted.bad is None else Converted(converted.array, None, _count(converted.bad))


def _cast_each(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Cast text; where that fails, halve until the values that don't cast are alone, null and marked."""
    try:
        return array.cast(wanted), None
    except pa.ArrowInvalid:
        if len(array) == 1:
            return pa.nulls(1, wanted), pa.array([True])
    middle = len(array) // 2
    halves = [_cast_each(part, wanted) for part in (array[:middle], array[middle:])]
    masks = [pa.repeat(pa.scalar(value=False), len(part)) if bad is None else bad for part, bad in halves]
    return pa.concat_arrays([part for part, _ in halves]), pa.concat_arrays(masks)


def _trimmed(array: pa.Array) -> pa.Array:
    text = array.cast(pa.string()) if array.type != pa.string() else array
    text = pc.utf8_trim_whitespace(text)
    blank = pc.is_in(pc.utf8_lower(text), pa.array(_NULL_WORDS))
    return pc.if_else(blank, pa.scalar(None, pa.string()), text)


def _blank(array: pa.Array) -> pa.Array:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(array), ""), fill_value=True)


def _or_none(one: pa.Array | None, other: pa.Array | None) -> pa.Array | None:
    if one is None or other is None:
        return other if one is None else one
    return pc.or_(one, other)


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _arrow(column: Column) -> pa.DataType:
    return pa.type_for_alias(column.types.arrow)


def _count(mask: pa.Array) -> int:
    return int(mask.true_count)


_FROM_TEXT: dict[str, Callable[[pa.Array, Column], Converted]] = {
    "text": _text_values,
    "flag": _text_values,
    "code": _code_values,
    "id": _number_values,
    "count": _number_values,
    "seconds": _number_values,
    "money": _number_values,
    "miles": _number_values,
    "degrees": _number_values,
    "time": _time_values,
}
