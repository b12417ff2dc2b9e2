"""The way to a server and back: the client, redirects that may be followed, and what breaks, in our words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nyctaxi_etl.core.answer import is_host, printable
from nyctaxi_etl.core.errors import Blocked, NycTaxiError, Transient, UsageError
from nyctaxi_etl.core.pace import FLOOR_SECONDS
from nyctaxi_etl.sources.request import LOOK, RESUME

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from nyctaxi_etl.core.pace import Pace
    from nyctaxi_etl.sources.request import DownloadRequest

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
HOPS = 20
LAST_PORT = 65_535


def connect() -> httpx.Client:
    """Return the client that all of a month's requests go through; proxies are those of the environment.

    Raises ``UsageError`` for a proxy's address that makes no sense.
    """
    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    # identity: a transparently compressed body has another length and another ETag than the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "nyctaxi-etl"}
    try:
        # No connection is used twice: a request's pace is that of the connection it made.
        return httpx.Client(timeout=timeout, headers=headers, limits=httpx.Limits(max_keepalive_connections=0))
    except (ImportError, ValueError, httpx.InvalidURL):
        # Their messages quote the proxy's address, which may hold a password.
        message = "The proxy named by HTTP_PROXY, HTTPS_PROXY or ALL_PROXY can't be used."
        raise UsageError(message, "Write it as http://host:port; SOCKS needs `pip install httpx[socks]`.") from None


@contextmanager
def answering(
    client: httpx.Client, request: DownloadRequest, headers: dict[str, str], pace: Pace
) -> Iterator[httpx.Response]:
    """Ask for the file, and go where the server sends on to; what else it says on the way is not read.

    Gives the last answer, its body unread. Raises ``Blocked`` for a redirect that is not to be followed.
    """
    asked = client.build_request("GET", request.url, headers=headers, extensions={"trace": pace.trace})
    for _ in range(HOPS):
        response = client.send(asked, stream=True)
        try:
            if response.next_request is None:
                yield response
                return
            _check_redirect(request, asked.url, response.next_request.url)
            asked = response.next_request
        finally:
            response.close()
    message = f"{request}: more than {HOPS} redirects, one after the other."
    raise Blocked(message, LOOK)


def _check_redirect(request: DownloadRequest, start: httpx.URL, target: httpx.URL) -> None:
    """Refuse to be sent from an encrypted address to one that isn't, and to what can't be an address."""
    if start.scheme == "https" and target.scheme != "https":
        message = f"{request}: sent on to an address that is not encrypted."
        raise Blocked(message, LOOK)
    host = target.raw_host.decode("ascii", "replace")
    if not is_host(f"[{host}]" if ":" in host else host) or (target.port or 1) > LAST_PORT:
        message = f"{request}: sent on to what can't be an address."
        raise Blocked(message, LOOK)


@contextmanager
def connection_errors(request: DownloadRequest, pace: Pace) -> Iterator[None]:
    """Turn what httpx raises in the block into ``Transient`` or ``Blocked``.

    Where ``pace`` has cut the connection, whatever came of it is a transfer that was too slow.
    """
    import httpx

    try:
        yield
        if pace.is_slow:  # a body of no announced length ends like any other
            raise _too_slow(request)
    except Transient as broken:
        raise (_too_slow(request) if pace.is_slow else broken) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise (_too_slow(request) if pace.is_slow else _as_ours(request, error)) from error


def _too_slow(request: DownloadRequest) -> Transient:
    message = f"{request}: less than {request.floor:,} bytes a second came, for {FLOOR_SECONDS:.0f} s."
    return Transient(message, f"{RESUME} A slower line needs a lower NYCTAXI_MIN_SPEED.")


def _as_ours(request: DownloadRequest, error: Exception) -> NycTaxiError:
    """Return what an error of httpx's means; its words are quoted only where they hold no address."""
    import httpx

    words = printable(str(error))
    if _is_untrusted(error):
        message = f"{request}: the server's certificate is not trusted ({words})."
        return Blocked(message, "Is a proxy in between, or the clock wrong? SSL_CERT_FILE names your own authorities.")
    # A proxy's own "no" (407: it wants a password) stays one; 5xx is the way behind it.
    proxy_refused = isinstance(error, httpx.ProxyError) and str(error).startswith("4")
    no_address = isinstance(error, (UnicodeError, httpx.InvalidURL)) or isinstance(error.__context__, httpx.InvalidURL)
    if no_address:  # the words may quote it
        return Blocked(f"{request}: sent on to what can't be an address.", LOOK)
    if proxy_refused or isinstance(error, httpx.UnsupportedProtocol):
        return Blocked(f"{request}: the way there is blocked ({words}).", LOOK)
    what = f"the connection broke ({words or type(error).__name__})"
    if isinstance(error, httpx.TimeoutException):
        is_connecting = isinstance(error, httpx.ConnectTimeout)
        what = f"no connection within {CONNECT_SECONDS:.0f} s" if is_connecting else f"silent for {READ_SECONDS:.0f} s"
    return Transient(f"{request}: {what}.", RESUME)


def _is_untrusted(error: BaseException | None) -> bool:
    """Tell whether a certificate was refused somewhere below: httpx wraps it in an error of its own."""
    import ssl

    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
