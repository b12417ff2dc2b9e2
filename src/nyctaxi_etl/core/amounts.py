"""Amounts as people read them: sizes, how far a step is, how long it took."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB")
_THOUSAND = 1000
_MINUTE = 60
_HOUR = 60


def size(count: float) -> str:
    """Return a number of bytes in the unit that leaves one to three digits before the point: ``27.1 kB``."""
    if count < _THOUSAND:
        return f"{count:.0f} B"
    units = iter(_UNITS)
    while round(count, 1) >= _THOUSAND and (following := next(units, "")):
        count, unit = count / _THOUSAND, following
    return f"{count:,.1f} {unit}"


def amount(count: float, unit: str) -> str:
    """Return a number of ``bytes`` as a size, or a number of anything else with its unit."""
    return size(count) if unit == "bytes" else f"{count:,.0f} {unit}"


def progress(done: float, total: float, unit: str) -> str:
    """Return how much of it is done, and of how much if that is known: ``12.3 of 27.0 MB``."""
    if not total:
        return amount(done, unit)
    (first, its_unit), whole = amount(done, unit).rsplit(" ", 1), amount(total, unit)
    return f"{first if whole.endswith(f' {its_unit}') else amount(done, unit)} of {whole}"


def clock(seconds: float) -> str:
    """Return a duration as ``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _HOUR)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
