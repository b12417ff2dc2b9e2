"""What in an address is a secret: told once, for our own checks and as the pattern that Prefect's server checks."""

from __future__ import annotations

import re
from pathlib import Path

from nyctaxi_etl.core.errors import UsageError

_SCHEME = "[A-Za-z][A-Za-z0-9+.-]*:"
_DRIVE = r"[A-Za-z]:[\\/]"
_WORDS = (
    *("password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "signature"),
    *("apikey", "api_key", "access_key", "private_key"),
)


def _any_case(word: str) -> str:
    # Prefect's page may check the pattern as well, and JavaScript has no mark for it within one.
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


# What an address that holds a secret begins with; as Python and JavaScript write it.
_SECRETS = (
    # scheme://user:password@, with any number of slashes or no scheme. A password may have a slash, as drivers read it.
    rf"(?:{_SCHEME}/?/(?!/)|//(?!/))[^/:]*:[^@]*@",
    # A drive's letter stands behind three: there is no user in duckdb:///C:/trips@home.
    rf"(?:{_SCHEME}/+|//+)(?!{_DRIVE})[^/:]*:[^@]*@",
    # user:password@ without a slash before it; not a path.
    rf"(?!{_SCHEME}/)(?!{_DRIVE})(?!/)[^/:]*:[^@]*@",
    # A user's name is a token for many web servers.
    rf"{_any_case('http')}[Ss]?:/*[^/?#]*@",
    # password=..., within an ODBC string, too, where the sign is encoded, once or more.
    rf"[\s\S]*(?:{'|'.join(map(_any_case, _WORDS))})[^=&;%/]*(?:=|%(?:25)*3[Dd])",
    r"[^?]*\?(?:[^&]*&)*(?:[Ss][Ii][Gg]|[Kk][Ee][Yy])=",
    # No one has an honest reason to encode a letter.
    r"[^?]*\?[\s\S]*%(?:25)*(?:4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]|7[0-9Aa])",
)
_SECRET = "|".join(_SECRETS)
_HOLDS = re.compile(_SECRET)
# What an address without a secret matches: for a JSON schema.
PATTERN = rf"^(?!{_SECRET})[\s\S]*$"

_HINTS = {
    "to": "Leave it out: set PGPASSWORD, use a password file, or register a block (blocks-init).",
    "lake": "Leave it out: a bucket is entered with the machine's own credentials, or by a block (blocks-init).",
}
_SOURCE_HINT = "It would be kept in logs and in the ledger: use an address without one."


def holds_secret(address: str) -> bool:
    """Tell whether an address has a password in it, or what may be one."""
    return _HOLDS.match(address) is not None


def shown(address: str) -> str:
    """Return an address as it may be shown: as it is, or only its scheme if it holds a secret."""
    if not holds_secret(address):
        return address
    scheme = re.match(f"{_SCHEME}/+", address)
    return f"{scheme[0] if scheme else ''}..."


def refuse_secret(about: str, address: str) -> None:
    """Return nothing if an address has no password in it; ``about`` is the argument or setting that it was given by.

    Raises:
        UsageError: It has one, which is not repeated.
    """
    if holds_secret(address):
        what = "a password" if about in _HINTS else "a user name or password"
        message = f"{shown(address)}: the address holds {what}."
        raise UsageError(message, _HINTS.get(about, _SOURCE_HINT), about=about)


def folder_of(text: str, about: str) -> Path:
    """Return the folder that the argument or setting ``about`` gives; ``~`` is a home.

    Raises:
        UsageError: It can't be one, because its name is no UTF-8 or the home of nobody.
    """
    shown = text.encode("utf-8", "backslashreplace").decode()
    try:
        text.encode("utf-8")
        return Path(text).expanduser()
    except UnicodeEncodeError:
        message = f"{shown}: the name of this folder is not written in UTF-8."
        hint = "Rename it, or name another: databases and JSON can't hold such a name."
        raise UsageError(message, hint, about=about) from None
    except RuntimeError:
        message = f"{shown}: there is no such home."
        raise UsageError(message, "Write the whole path, or ~/ for your own home.", about=about) from None
