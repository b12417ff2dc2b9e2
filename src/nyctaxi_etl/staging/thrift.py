"""Thrift's compact protocol, as far as the footers and page headers of Parquet are written in it.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = "int | bytes | list[Value] | dict[int, Value] | None"
Fields: TypeAlias = dict[int, Value]

_DEEPEST = 16
_BITS = 63
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_LONG_LIST = 0x0F


class Reader:
    """Reads bytes from the first on; ``position`` is the next one.

    Raises ``IndexError`` where the bytes end too early, ``ValueError`` where they are nothing of Thrift's.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def struct(self, depth: int = 0) -> Fields:
        """Return a struct's fields by number; doubles and maps are passed over, as no size is one."""
        if depth > _DEEPEST:
            message = "structs within structs"
            raise ValueError(message)
        fields: Fields = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 0x0F, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Value:
        """Return a value by its kind; ``None`` for one of a kind that is no size, which is passed over."""
        if _BYTE < kind < _DOUBLE:
            return self._signed()
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in {_LIST, _SET}:
            head = self._byte()
            count = head >> 4 if head >> 4 < _LONG_LIST else self._unsigned()
            return [self._element(head & 0x0F, depth + 1) for _ in range(count)]
        if kind in {_BYTE, _DOUBLE}:
            self._bytes(1 if kind == _BYTE else 8)
        elif kind not in {_TRUE, _FALSE}:  # a map: Parquet has none
            message = f"no kind of value: {kind}"
            raise ValueError(message)
        return None

    def _element(self, kind: int, depth: int) -> Value:
        """Return an element of a list, where a boolean has a byte of its own."""
        if kind in {_TRUE, _FALSE}:
            self._bytes(1)
            return None
        return self._value(kind, depth)

    def _byte(self) -> int:
        value = self._data[self.position]
        self.position += 1
        return value

    def _bytes(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if self.position > len(self._data):
            raise IndexError
        return self._data[start : self.position]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80 and shift < _BITS:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
