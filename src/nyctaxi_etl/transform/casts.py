"""Published values become declared ones: whatever a file wrote or typed, cast, and what doesn't cast is marked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.core.errors import SchemaDrift
from nyctaxi_etl.core.limits import TEXT_CHARACTERS
from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.arrays import scalar
from nyctaxi_etl.transform.notation import as_iso, without_commas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nyctaxi_etl.schema.columns import Column

_NULL_WORDS = ("", "nan", "null")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# What Arrow casts to a double, and to a time: it says of a whole column only that one of its values doesn't cast.
_NUMERAL = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf(inity)?|nan(\(\w*\))?))$"
_DAY = r"(0[1-9]|1\d|2[0-8])"
_DAYS = rf"\d{{4}}-(02-{_DAY}|(0[13-9]|1[0-2])-({_DAY}|29|30)|(0[13578]|1[02])-31)"
_LEAP_DAY = r"(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
_TIME = rf"^({_DAYS}|{_LEAP_DAY})([ T]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d(\.\d{{1,6}})?)?)?)?$"
# What every warehouse and Python can hold.
_FIRST_TIME = "0001-01-01 00:00:00"
_LAST_TIME = "9999-12-31 23:59:59.999999"
_FIRST_DAY, _END_DAY = np.datetime64("0001-01-01"), np.datetime64("10000-01-01")


class Converted(NamedTuple):
    """A column in its declared type.

    ``bad`` marks rows whose value doesn't cast, ``unknown`` those whose code or flag means nothing; both are null
    in ``array``, and the masks never are.
    """

    array: pa.Array
    bad: pa.Array | None = None
    unknown: pa.Array | None = None


def convert(array: pa.Array, column: Column) -> Converted:
    """Cast one published column, of whatever type it came in, to its declared type.

    Raises ``SchemaDrift`` if the whole column is of a type that can't mean this.
    """
    if pa.types.is_dictionary(array.type) and not is_text(array.type.value_type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return Converted(pa.nulls(len(array), arrow_type(column)))
    if not is_text(array.type):
        return _read_unknown(_from_values(array, column), column)
    text, garbled = _decoded(array)
    converted = _read_unknown(_FROM_TEXT[column.type](text, column), column)
    return converted._replace(bad=either(converted.bad, garbled))


def plain(array: pa.Array) -> pa.Array:
    """Return a column in a type that every function of Arrow takes: views have no ``take``, extensions no ``cast``."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(array.storage)
    if pa.types.is_dictionary(kind) and kind.value_type in _VIEWS:
        return pa.DictionaryArray.from_arrays(array.indices, plain(array.dictionary))
    return array.cast(_VIEWS[kind]) if kind in _VIEWS else array


def arrow_type(column: Column) -> pa.DataType:
    """Return a column's declared Arrow type."""
    return pa.type_for_alias(column.types.arrow)


def either(*masks: pa.Array | None) -> pa.Array | None:
    """Return the rows that any of the masks marks; ``None`` marks none."""
    result = None
    for mask in masks:
        if mask is not None:
            result = mask if result is None else pc.or_(result, mask)
    return result


def blank(text: pa.Array) -> pa.Array:
    """Tell, row by row, whether a text holds nothing; nulls are blank."""
    return pc.is_null(_trimmed(text))


def certain(mask: pa.Array) -> pa.Array:
    """Return a mask in which what is not known is not marked."""
    return pc.fill_null(mask, scalar("false", pa.bool_()))


def _read_unknown(converted: Converted, column: Column) -> Converted:
    """Turn bad values of a code or flag, null already, into unknown ones: no reason to lose a trip."""
    known = converted.bad is None or column.type not in {"code", "flag"}
    return converted if known else Converted(converted.array, None, converted.bad)


def _decoded(array: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Return text as UTF-8 strings, or a dictionary of them; values that aren't UTF-8 are null and marked."""
    try:
        text = array if pa.types.is_dictionary(array.type) else array.cast(pa.string())
        text = text if _is_string(text.type) else text.cast(pa.dictionary(text.type.index_type, pa.string()))
        text.validate(full=True)
    except pa.ArrowInvalid:
        plain = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        values = [_utf8(value) for value in plain.cast(pa.binary()).to_pylist()]
        texts = [None if isinstance(value, bytes) else value for value in values]
        return array_of(texts, pa.string()), _mask([isinstance(value, bytes) for value in values])
    return text, None


def _utf8(value: bytes | None) -> str | bytes | None:
    try:
        return value and value.decode()
    except UnicodeDecodeError:
        return value


def _words(array: pa.Array, column: Column) -> Converted:
    """Text and flags: trimmed, mapped word by word; there are few distinct ones, so each is looked at once."""
    return _mapped(array, column, _flag if column.codes else _text)


def _codes(array: pa.Array, column: Column) -> Converted:
    return _mapped(array, column, _code)


def _mapped(array: pa.Array, column: Column, read: Callable[[str, Column], str | int | None]) -> Converted:
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    words = [(word or "").strip() for word in encoded.dictionary.to_pylist()]
    values = [None if word.lower() in _NULL_WORDS else read(word, column) for word in words]
    bad = [value is None and word.lower() not in _NULL_WORDS for word, value in zip(words, values, strict=True)]
    literals = [None if value is None else str(value) for value in values]
    result = array_of(literals, arrow_type(column)).take(encoded.indices)
    if not any(bad):
        return Converted(result)
    return Converted(result, certain(_mask(bad).take(encoded.indices)))


def _text(word: str, _column: Column) -> str | None:
    """Return the word itself, unless it is no word, or holds what Postgres can't store."""
    return None if "\x00" in word or len(word) > TEXT_CHARACTERS else word


def _flag(word: str, column: Column) -> str | None:
    return column.codes.get(word.upper())


def _code(word: str, column: Column) -> int | None:
    text = column.codes.get(word.upper(), word)
    number = float(text) if _NUMBER.fullmatch(text) else float("nan")
    return int(number) if number.is_integer() and -(1 << 15) <= number < 1 << 15 else None


def _numbers(array: pa.Array, column: Column) -> Converted:
    numbers, bad = _cast_text(array, pa.float64(), _NUMERAL, lambda numbers: without_commas(_trimmed(numbers)))
    converted = _from_floats(numbers, column)
    return Converted(converted.array, either(bad, converted.bad))


def _times(array: pa.Array, column: Column) -> Converted:
    return _in_calendar(*_cast_text(array, arrow_type(column), _TIME, lambda times: as_iso(_trimmed(times))))


def _cast_text(
    array: pa.Array, wanted: pa.DataType, shape: str, tidied: Callable[[pa.Array], pa.Array]
) -> tuple[pa.Array, pa.Array | None]:
    """Cast text; where that fails, cast the values of the ``shape`` that casts, and the others tidied."""
    text = array if array.type == pa.string() else array.cast(pa.string())
    try:
        return text.cast(wanted), None
    except pa.ArrowInvalid:
        values, others = _cast_shaped(text, wanted, shape)
    where = pc.indices_nonzero(others)
    rest = tidied(text.take(where))
    again, bad = _cast_shaped(rest, wanted, shape)
    return pc.replace_with_mask(values, others, again), pc.replace_with_mask(others, others, bad)


def _cast_shaped(text: pa.Array, wanted: pa.DataType, shape: str) -> tuple[pa.Array, pa.Array]:
    """Cast values of the shape that casts; the others, but nulls, are null and marked."""
    fit = certain(pc.match_substring_regex(text, shape))
    others = pc.and_not(pc.is_valid(text), fit)
    values, missed = _cast_each(pc.if_else(fit, text, scalar(None, pa.string())), wanted)
    return values, either(others, missed)


def _from_values(array: pa.Array, column: Column) -> Converted:
    """Cast numbers, times and booleans as Parquet types them."""
    kind, wanted = array.type, arrow_type(column)
    if pa.types.is_string(wanted) and (_is_number(kind) or pa.types.is_boolean(kind)):
        # As doubles, so that a decimal flag 1.00 is written as 1.
        plain = array.cast(pa.float64(), safe=False) if column.codes and _is_number(kind) else array
        return _words(plain.cast(pa.string()), column)
    if pa.types.is_timestamp(wanted) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return _from_times(array, wanted)
    if not _is_number(kind) or not _is_number(wanted):
        message = f"{column.name} came as {kind}, which can't mean it."
        raise SchemaDrift(message, f"Expected {wanted} or text.")
    if kind == wanted and pa.types.is_integer(kind):
        return Converted(array)
    return _from_floats(array.cast(pa.float64(), safe=False), column)


def _from_times(array: pa.Array, wanted: pa.DataType) -> Converted:
    """Cast timestamps and dates; a zone is taken off, which leaves the time that its clocks showed."""
    if getattr(array.type, "tz", None):
        try:
            array = pc.local_timestamp(array)
        except pa.ArrowInvalid as error:
            message = f"A time came as {array.type}, a zone that is not known."
            raise SchemaDrift(message, "Save it without a zone.") from error
    outside = _beyond_calendar(array)
    if outside is not None:
        array = pc.if_else(outside, scalar(None, array.type), array)
    # Nanoseconds are cut off.
    return Converted(array.cast(wanted, safe=False), outside)


def _beyond_calendar(times: pa.Array) -> pa.Array | None:
    """Mark times before the year 1 or after 9999, of which not all can be cast to microseconds."""
    unit = "D" if pa.types.is_date32(times.type) else getattr(times.type, "unit", "ms")
    if unit == "ns":  # these end in 2262
        return None
    first, end = (str(edge) for edge in np.array([_FIRST_DAY, _END_DAY]).astype(f"datetime64[{unit}]").astype(np.int64))
    numbers = times.cast(pa.int32() if unit == "D" else pa.int64()).cast(pa.int64())
    outside = pc.or_(pc.less(numbers, scalar(first, pa.int64())), pc.greater_equal(numbers, scalar(end, pa.int64())))
    return certain(outside) if count(outside) else None


def _in_calendar(times: pa.Array, bad: pa.Array | None) -> Converted:
    """Mark times before the year 1 or after 9999, which Arrow can hold and a warehouse can't."""
    first, last = (scalar(edge, times.type) for edge in (_FIRST_TIME, _LAST_TIME))
    outside = pc.or_(pc.less(times, first), pc.greater(times, last))
    if not count(outside):
        return Converted(times, bad)
    outside = certain(outside)
    return Converted(pc.if_else(outside, scalar(None, times.type), times), either(bad, outside))


def _from_floats(array: pa.Array, column: Column) -> Converted:
    """Cast doubles; not-a-number is null, infinity fits nowhere, and a whole number must be whole and in range."""
    wanted = arrow_type(column)
    bad = None
    if pc.is_finite(array).false_count:
        bad = certain(pc.is_inf(array))
        array = pc.if_else(pc.is_finite(array), array, scalar(None, array.type))
    if pa.types.is_floating(wanted):
        return Converted(array, bad if bad is not None and count(bad) else None)
    limit = 1 << (wanted.bit_width - 1)
    low, high = scalar(str(-limit), array.type), scalar(str(limit), array.type)
    whole = pc.equal(pc.trunc(array), array)
    fits = pc.and_(whole, pc.and_(pc.greater_equal(array, low), pc.less(array, high)))
    bad = either(bad, certain(pc.invert(fits)))
    if not count(bad):
        return Converted(array.cast(wanted, safe=False))
    return Converted(pc.if_else(bad, scalar(None, array.type), array).cast(wanted, safe=False), bad)


def _cast_each(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Cast values; where that fails, halve until those that don't cast are alone, null and marked.

    A value costs some dozen casts, so what is known not to cast is null before.
    """
    try:
        return array.cast(wanted), None
    except pa.ArrowInvalid:
        if len(array) == 1:
            return pa.nulls(1, wanted), _mask([True])
    middle = len(array) // 2
    halves = [_cast_each(part, wanted) for part in (array[:middle], array[middle:])]
    masks = [_mask([False] * len(part)) if bad is None else bad for part, bad in halves]
    return pa.concat_arrays([part for part, _ in halves]), pa.concat_arrays(masks)


def _trimmed(array: pa.Array) -> pa.Array:
    text = array.cast(pa.string()) if array.type != pa.string() else array
    text = pc.utf8_trim_whitespace(text)
    empty = pc.is_in(pc.utf8_lower(text), array_of(_NULL_WORDS, pa.string()))
    return pc.if_else(empty, scalar(None, pa.string()), text)


def count(mask: pa.Array) -> int:
    """Return how many rows a mask marks."""
    return int(mask.true_count)


def _mask(marks: Sequence[bool]) -> pa.Array:
    return array_of([str(mark) for mark in marks], pa.bool_())


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a type, or that of a dictionary's words, is text, with its annotation or without."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(value) for is_kind in _TEXT_KINDS)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_TEXT_KINDS: Sequence[Callable[[pa.DataType], bool]] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    # Text without its annotation, as old writers of Parquet left it.
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)
_FROM_TEXT: dict[str, Callable[[pa.Array, Column], Converted]] = {
    "text": _words,
    "flag": _words,
    "code": _codes,
    "id": _numbers,
    "count": _numbers,
    "seconds": _numbers,
    "money": _numbers,
    "miles": _numbers,
    "degrees": _numbers,
    "time": _times,
}
