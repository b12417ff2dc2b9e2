"""Who asks BigQuery: a client of Google's library, for Google or for an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from nyctaxi_etl.core.errors import UsageError
from nyctaxi_etl.warehouses.bigquery.errors import no_credentials

if TYPE_CHECKING:
    from google.auth.credentials import Credentials


def bigquery_client(project: str, emulator: str | None, credentials: Credentials | None = None) -> bigquery.Client:
    """Return a client for ``project`` (if empty, that of the credentials), or for an ``emulator`` at that address.

    An emulator is asked without credentials. Raises ``UsageError`` if there are none to be found for Google.
    """
    try:
        if emulator:
            address = emulator if "://" in emulator else f"http://{emulator}"
            nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
            return bigquery.Client(project or "emulated", nobody, client_options={"api_endpoint": address})
        return bigquery.Client(project or getattr(credentials, "project_id", None), credentials)
    except GoogleAuthError as error:
        raise no_credentials(error) from None
    except OSError:  # how Google's library says that no project is known
        message = "BigQuery can't be asked: the account has no project of its own."
        raise UsageError(message, "Name the project that the dataset is in.") from None
