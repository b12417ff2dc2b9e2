"""Which Arrow types mean what, and the one in which a declared column is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nyctaxi_etl.schema.columns import Column

_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_TEXT_TYPES: Sequence[Callable[[pa.DataType], bool]] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    # Text without its annotation, as old writers of Parquet left it.
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)


def arrow_type(column: Column) -> pa.DataType:
    """Return a column's declared Arrow type."""
    return pa.type_for_alias(column.types.arrow)


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a type, or that of a dictionary's words, is text, with its annotation or without."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_one(value) for is_one in _TEXT_TYPES)


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a type is of whole numbers, floating-point numbers or decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def in_common_type(array: pa.Array) -> pa.Array:
    """Return a column in a type that every function of Arrow takes: views have no ``take``, extensions no ``cast``."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return in_common_type(array.storage)
    if pa.types.is_dictionary(kind) and kind.value_type in _VIEWS:
        return pa.DictionaryArray.from_arrays(array.indices, in_common_type(array.dictionary))
    return array.cast(_VIEWS[kind]) if kind in _VIEWS else array
