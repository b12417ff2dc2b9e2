"""Texts become numbers and times: all at once where each of them casts, else those of the shape that casts.

Arrow says of a whole column only that one of its values doesn't cast, not which. So a value that doesn't is looked for
by its shape, and what the shapes let through by halving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nyctaxi_etl.staging.arrays import array as array_of
from nyctaxi_etl.staging.arrays import scalar
from nyctaxi_etl.transform.masks import any_of, mask_of, null_as_false
from nyctaxi_etl.transform.notation import as_iso, without_commas

if TYPE_CHECKING:
    from collections.abc import Callable

NULL_WORDS = ("", "nan", "null")
# What Arrow casts to a double, and to a time.
_NUMERAL = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf(inity)?|nan(\(\w*\))?))$"
_DAY = r"(0[1-9]|1\d|2[0-8])"
_DAYS = rf"\d{{4}}-(02-{_DAY}|(0[13-9]|1[0-2])-({_DAY}|29|30)|(0[13578]|1[02])-31)"
_LEAP_DAY = r"(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
_TIME = rf"^({_DAYS}|{_LEAP_DAY})([ T]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d(\.\d{{1,6}})?)?)?)?$"


def text_to_numbers(array: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Cast text, or a dictionary of it, to doubles; what doesn't cast is null, and marked in the mask."""
    return _cast_text(array, pa.float64(), _NUMERAL, lambda numbers: without_commas(trimmed(numbers)))


def text_to_times(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Cast text, or a dictionary of it, to times of type ``wanted``; what doesn't cast is null, and marked."""
    return _cast_text(array, wanted, _TIME, lambda times: as_iso(trimmed(times)))


def decoded(array: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Return text as UTF-8 strings, or a dictionary of them; values that aren't UTF-8 are null and marked."""
    encoded = pa.types.is_dictionary(array.type)
    words = array.type.value_type if encoded else array.type
    wanted = pa.dictionary(array.type.index_type, pa.string()) if encoded else pa.string()
    try:
        text = array if pa.types.is_string(words) else array.cast(wanted)
        text.validate(full=True)
    except pa.ArrowInvalid:
        whole = array.dictionary_decode() if encoded else array
        values = [_utf8(value) for value in whole.cast(pa.binary()).to_pylist()]
        texts = [None if isinstance(value, bytes) else value for value in values]
        return array_of(texts, pa.string()), mask_of([isinstance(value, bytes) for value in values])
    return text, None


def _utf8(value: bytes | None) -> str | bytes | None:
    try:
        return value and value.decode()
    except UnicodeDecodeError:
        return value


def trimmed(array: pa.Array) -> pa.Array:
    """Return text without white space around it; what then is empty, or a word for nothing, is null."""
    text = array.cast(pa.string()) if array.type != pa.string() else array
    text = pc.utf8_trim_whitespace(text)
    empty = pc.is_in(pc.utf8_lower(text), array_of(NULL_WORDS, pa.string()))
    return pc.if_else(empty, scalar(None, pa.string()), text)


def is_blank(text: pa.Array) -> pa.Array:
    """Tell, row by row, whether a text holds nothing; nulls are blank."""
    return pc.is_null(trimmed(text))


def _cast_text(
    array: pa.Array, wanted: pa.DataType, shape: str, tidied: Callable[[pa.Array], pa.Array]
) -> tuple[pa.Array, pa.Array | None]:
    """Cast text; where that fails, cast the values of the ``shape`` that casts, and the others tidied.

    Tidying is what copies of the TLC's files need: most columns never come so far.
    """
    text = array if array.type == pa.string() else array.cast(pa.string())
    try:
        return text.cast(wanted), None
    except pa.ArrowInvalid:
        values, others = _cast_shaped(text, wanted, shape)
    where = pc.indices_nonzero(others)
    tidy, bad = _cast_shaped(tidied(text.take(where)), wanted, shape)
    return pc.replace_with_mask(values, others, tidy), pc.replace_with_mask(others, others, bad)


def _cast_shaped(text: pa.Array, wanted: pa.DataType, shape: str) -> tuple[pa.Array, pa.Array]:
    """Cast values of the shape that casts; the others, but nulls, are null and marked."""
    fit = null_as_false(pc.match_substring_regex(text, shape))
    others = pc.and_not(pc.is_valid(text), fit)
    values, missed = _cast_each(pc.if_else(fit, text, scalar(None, pa.string())), wanted)
    return values, any_of(others, missed)


def _cast_each(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Cast values; where that fails, halve until those that don't cast are alone, null and marked.

    A value costs some dozen casts, so what is known not to cast is null before.
    """
    try:
        return array.cast(wanted), None
    except pa.ArrowInvalid:
        if len(array) == 1:
            return pa.nulls(1, wanted), mask_of([True])
    middle = len(array) // 2
    halves = [_cast_each(part, wanted) for part in (array[:middle], array[middle:])]
    masks = [mask_of([False] * len(part)) if bad is None else bad for part, bad in halves]
    return pa.concat_arrays([part for part, _ in halves]), pa.concat_arrays(masks)
