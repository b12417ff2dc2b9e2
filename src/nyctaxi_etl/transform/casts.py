"""Published values become declared ones: whatever a file wrote or typed, cast, and what doesn't cast is marked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.core.errors import SchemaDrift
from nyctaxi_etl.core.limits import TEXT_CHARACTERS
from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.arrays import scalar
from nyctaxi_etl.staging.arrow_types import arrow_type, is_number, is_text
from nyctaxi_etl.transform.calendar import cast_times, without_impossible
from nyctaxi_etl.transform.masks import any_of, count_marked, mask_of, null_as_false
from nyctaxi_etl.transform.text_casts import NULL_WORDS, decoded, text_to_numbers, text_to_times

if TYPE_CHECKING:
    from collections.abc import Callable

    from nyctaxi_etl.schema.columns import Column

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_CODES = range(-(1 << 15), 1 << 15)  # codes are 16-bit integers


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
        return _bad_as_unknown(_from_values(array, column), column)
    text, garbled = decoded(array)
    converted = _bad_as_unknown(_FROM_TEXT[column.type](text, column), column)
    return converted._replace(bad=any_of(converted.bad, garbled))


def _bad_as_unknown(converted: Converted, column: Column) -> Converted:
    """Turn bad values of a code or flag, null already, into unknown ones: no reason to lose a trip."""
    if converted.bad is None or column.type not in {"code", "flag"}:
        return converted
    return Converted(converted.array, unknown=converted.bad)


def _words(array: pa.Array, column: Column) -> Converted:
    return _mapped(array, column, _flag if column.codes else _text)


def _codes(array: pa.Array, column: Column) -> Converted:
    return _mapped(array, column, _code)


def _mapped(array: pa.Array, column: Column, read: Callable[[str, Column], str | int | None]) -> Converted:
    """Read each distinct word once: a block of 11,000 rows has a handful of codes and a few hundred texts."""
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    words = [(word or "").strip() for word in encoded.dictionary.to_pylist()]
    values = [None if word.lower() in NULL_WORDS else read(word, column) for word in words]
    bad = [value is None and word.lower() not in NULL_WORDS for word, value in zip(words, values, strict=True)]
    literals = [None if value is None else str(value) for value in values]
    result = array_of(literals, arrow_type(column)).take(encoded.indices)
    if not any(bad):
        return Converted(result)
    return Converted(result, null_as_false(mask_of(bad).take(encoded.indices)))


def _text(word: str, _column: Column) -> str | None:
    """Return the word itself, unless it is no word, or holds what Postgres can't store."""
    return None if "\x00" in word or len(word) > TEXT_CHARACTERS else word


def _flag(word: str, column: Column) -> str | None:
    """Return the flag's letter; nothing for a word that no map knows."""
    return column.codes.get(word.upper())


def _code(word: str, column: Column) -> int | None:
    """Return the code that a word (``CSH``) or a number (``1``, ``1.0``) means; nothing for any other text."""
    text = column.codes.get(word.upper(), word)
    number = float(text) if _NUMBER.fullmatch(text) else float("nan")
    return int(number) if number.is_integer() and int(number) in _CODES else None


def _numbers(array: pa.Array, column: Column) -> Converted:
    numbers, bad = text_to_numbers(array)
    converted = _from_floats(numbers, column)
    return Converted(converted.array, any_of(bad, converted.bad))


def _times(array: pa.Array, column: Column) -> Converted:
    times, bad = text_to_times(array, arrow_type(column))
    times, impossible = without_impossible(times)
    return Converted(times, any_of(bad, impossible))


def _from_values(array: pa.Array, column: Column) -> Converted:
    """Cast numbers, times and booleans as Parquet types them."""
    kind, wanted = array.type, arrow_type(column)
    if pa.types.is_string(wanted) and (is_number(kind) or pa.types.is_boolean(kind)):
        # As doubles, so that a decimal flag 1.00 is written as 1.
        plain = array.cast(pa.float64(), safe=False) if column.codes and is_number(kind) else array
        return _words(plain.cast(pa.string()), column)
    if pa.types.is_timestamp(wanted) and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return Converted(*cast_times(array, wanted))
    if not is_number(kind) or not is_number(wanted):
        message = f"{column.name} came as {kind}, which can't mean it."
        raise SchemaDrift(message, f"Expected {wanted} or text.")
    if kind == wanted and pa.types.is_integer(kind):
        return Converted(array)
    if pa.types.is_integer(kind) and (numbers := _as_integers(array, wanted)) is not None:
        return Converted(numbers)
    return _from_floats(array.cast(pa.float64(), safe=False), column)


def _as_integers(array: pa.Array, wanted: pa.DataType) -> pa.Array | None:
    """Cast numbers in one pass, which checks that each is whole and in range; ``None`` if one isn't, as few are."""
    if not pa.types.is_integer(wanted):
        return None
    try:
        return array.cast(wanted)
    except pa.ArrowInvalid:
        return None


def _from_floats(array: pa.Array, column: Column) -> Converted:
    """Cast doubles; not-a-number is null, infinity fits nowhere, and a whole number must be whole and in range."""
    wanted = arrow_type(column)
    if (numbers := _as_integers(array, wanted)) is not None:
        return Converted(numbers)
    bad = None
    if pc.is_finite(array).false_count:
        bad = null_as_false(pc.is_inf(array))
        array = pc.if_else(pc.is_finite(array), array, scalar(None, array.type))
    if pa.types.is_floating(wanted):
        return Converted(array, bad if bad is not None and count_marked(bad) else None)
    limit = 1 << (wanted.bit_width - 1)
    low, high = scalar(str(-limit), array.type), scalar(str(limit), array.type)
    whole = pc.equal(pc.trunc(array), array)
    fits = pc.and_(whole, pc.and_(pc.greater_equal(array, low), pc.less(array, high)))
    bad = any_of(bad, null_as_false(pc.invert(fits)))
    if not count_marked(bad):
        return Converted(array.cast(wanted, safe=False))
    return Converted(pc.if_else(bad, scalar(None, array.type), array).cast(wanted, safe=False), bad)


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
