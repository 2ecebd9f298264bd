"""The key that signs tokens: the operator's own, one kept in the state folder, or one that ends with the process."""

import secrets
from pathlib import Path

from server.errors import StateError
from server.security.state_folder import read_private, state_folder, write_private
from server.settings import Settings

FILE = "signing-secret"
BYTES = 32  # RFC 7518, section 3.2: a key for HS256 is at least as long as its hash


def signing_key(settings: Settings) -> bytes:
    """Returns the key of a server with these settings. Raises StateError."""
    if settings.secret is not None or settings.private:
        return lasting_key(settings)
    return secrets.token_bytes(BYTES)  # of links that need not outlive this process


def lasting_key(settings: Settings) -> bytes:
    """Returns the key that a server which asks for signed tokens has at every start. Raises StateError."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return kept_key(state_folder(settings.state_dir) / FILE)


def kept_key(path: Path) -> bytes:
    """Returns the key in this file, which is made where there is none. Raises StateError."""
    key = read_private(path)
    if key is None:
        write_private(path, secrets.token_hex(BYTES).encode(), replace=False)
        key = read_private(path) or b""
    if len(key) < BYTES:
        raise StateError(f"{path} holds no key", "delete it, so that another is made; older links then end")
    return key
