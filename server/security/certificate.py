"""Certificates of the server: the operator's own, checked before use, or one that this machine signs for itself."""

import contextlib
import datetime
import hashlib
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.errors import StateError
from server.security.addresses import lan_addresses
from server.security.state_folder import read_private, state_folder, write_private
from server.settings import SELF_SIGNED, Settings

FILE = "tls-self-signed.pem"
DAYS, RENEW_DAYS = 365, 30  # browsers refuse certificates of more than 825 days


class TlsFiles(NamedTuple):
    """Files for uvicorn; `fingerprint` is that of a self-signed certificate (SHA-256), else empty."""

    certificate: Path
    key: Path
    fingerprint: str = ""


def tls_files(settings: Settings) -> TlsFiles | None:
    """Returns the certificate and key to serve with, None without TLS. Raises StateError where they cannot be used."""
    if not settings.tls:
        return None
    if settings.tls == [SELF_SIGNED]:
        path = state_folder(settings.state_dir) / FILE
        return TlsFiles(path, path, fingerprint(_self_signed(path)))
    files = TlsFiles(Path(settings.tls[0]), Path(settings.tls[1]))
    _check(files)
    return files


def fingerprint(certificate: x509.Certificate) -> str:
    """Returns the SHA-256 of a certificate as browsers show it."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest().hex(":").upper()


def _check(files: TlsFiles) -> None:
    """Raises StateError for files that no server could use."""
    for path in files[:2]:
        if not path.is_file():
            raise StateError(f"{path} is no file", "give --tls the files of the certificate chain and its key (PEM)")
    try:
        # An empty password: a key with one is an error here, where OpenSSL would ask on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key, password="")
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise StateError(
            f"{files.certificate} and {files.key} cannot be used for TLS: {reason}",
            "give the certificate chain first, then its own key, both PEM, the key without a password",
        ) from None


def _self_signed(path: Path) -> x509.Certificate:
    """Returns the certificate in this file, which is made anew where it is missing, old, or lacks an address."""
    names = _names()
    kept = read_private(path)
    if kept is not None:
        with contextlib.suppress(ValueError, x509.ExtensionNotFound):
            certificate = x509.load_pem_x509_certificate(kept)
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
            if set(names) <= set(found) and left > datetime.timedelta(days=RENEW_DAYS):
                return certificate
    certificate, data = _make(names)
    write_private(path, data, replace=True)
    return certificate


def _names() -> list[x509.GeneralName]:
    """Returns the names and addresses under which this machine may be opened."""
    hosts = ["localhost"]
    own = socket.gethostname().lower()
    if own.isascii() and own.replace("-", "").replace(".", "").isalnum():
        hosts += [own] if "." in own else [own, f"{own}.local"]
    addresses = ["127.0.0.1", "::1", *lan_addresses()]
    return [
        *(x509.DNSName(each) for each in dict.fromkeys(hosts)),
        *(x509.IPAddress(ipaddress.ip_address(each)) for each in addresses),
    ]


def _make(names: list[x509.GeneralName]) -> tuple[x509.Certificate, bytes]:
    """Returns a new certificate, and it with its key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relight-live on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # a phone's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate, certificate.public_bytes(pem) + secret
