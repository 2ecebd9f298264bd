"""Certificates: one that the machine signs for itself, and the operator's own with everything that can be wrong."""

import datetime
import os
import ssl
from pathlib import Path

import httpx
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from server.errors import StateError
from server.security import certificate
from server.security.addresses import is_any, is_loopback, lan_addresses
from server.security.certificate import FILE, tls_files
from server.settings import Settings
from tests.server.client import running


def self_signed(folder: Path) -> Settings:
    """Settings of a server with such a certificate."""
    return Settings(tls=["self-signed"], state_dir=folder)


def test_it_is_for_this_machine_kept_and_made_anew_when_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same fingerprint at the next start; another one once an address is new or the end is near."""
    monkeypatch.setattr(certificate, "lan_addresses", lambda: ["192.168.1.5"])
    first = tls_files(self_signed(tmp_path))
    assert first is not None
    assert len(first.fingerprint.split(":")) == 32
    if os.name == "posix":
        assert first.key.stat().st_mode & 0o777 == 0o600
    found = x509.load_pem_x509_certificate(first.certificate.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert {"127.0.0.1", "::1", "192.168.1.5"} == {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    assert found.not_valid_after_utc - found.not_valid_before_utc < datetime.timedelta(days=825)
    assert tls_files(self_signed(tmp_path)) == first
    monkeypatch.setattr(certificate, "lan_addresses", lambda: ["192.168.1.6"])
    moved = tls_files(self_signed(tmp_path))
    assert moved is not None
    assert moved.fingerprint != first.fingerprint
    monkeypatch.setattr(certificate, "RENEW_DAYS", certificate.DAYS)
    renewed = tls_files(self_signed(tmp_path))
    assert renewed is not None
    assert renewed.fingerprint != moved.fingerprint
    first.certificate.write_text("rubbish")
    assert tls_files(self_signed(tmp_path)) is not None


async def test_page_and_socket_come_encrypted_with_the_certificate_that_was_announced(tmp_path: Path) -> None:
    """https and wss, checked against the certificate itself and the name in it; plain HTTP gets no answer."""
    files = tls_files(self_signed(tmp_path))
    assert files is not None
    trusted = ssl.create_default_context(cadata=ssl_pem(files.certificate))
    async with running(uvicorn_options={"ssl_certfile": files.certificate, "ssl_keyfile": files.key}) as server:
        url = f"https://localhost:{server.port}"
        async with httpx.AsyncClient(verify=trusted, trust_env=False) as client:
            answer = await client.get(f"{url}/healthz")
            assert answer.status_code == 200
            assert f"wss://localhost:{server.port}" in answer.headers["content-security-policy"]
        async with websockets.connect(
            f"wss://localhost:{server.port}/ws", ssl=trusted, origin=url, proxy=None
        ) as socket:
            assert '"welcome"' in await socket.recv()
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.HTTPError):
                await client.get(f"http://localhost:{server.port}/healthz")


def ssl_pem(path: Path) -> str:
    """The certificate alone, without its key."""
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.PEM).decode()


def test_the_operators_own_files_are_checked_before_they_are_used(tmp_path: Path) -> None:
    """Missing, no PEM, another's key, a key with a password: each is told with both files, and nothing asks back."""
    mine, other = tls_files(self_signed(tmp_path / "a")), tls_files(self_signed(tmp_path / "b"))
    assert mine is not None
    assert other is not None
    alone = tmp_path / "cert.pem"
    alone.write_text(ssl_pem(mine.certificate))
    key = serialization.load_pem_private_key(mine.key.read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked, rubbish = tmp_path / "locked.pem", tmp_path / "rubbish.pem"
    locked.write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"secret")))
    rubbish.write_text("rubbish")
    assert tls_files(Settings(tls=[str(alone), str(mine.key)])) == (alone, mine.key, "")
    for wrong in (
        (alone, other.key),
        (alone, locked),
        (rubbish, mine.key),
        (alone, rubbish),
        (tmp_path / "no", locked),
    ):
        with pytest.raises(StateError, match=r"cannot be used for TLS|is no file") as found:
            tls_files(Settings(tls=[str(each) for each in wrong]))
        assert "chain" in found.value.hint


@pytest.mark.parametrize("given", ["one.pem", "self-signed,key.pem", "a,b,c", "[1"])
def test_other_numbers_of_files_are_an_error(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """RELIGHT_TLS is self-signed, or two files."""
    monkeypatch.setenv("RELIGHT_TLS", given)
    with pytest.raises(ValueError, match="tls"):
        Settings()


def test_addresses() -> None:
    """Loopback by name and number; no address of the network is one."""
    assert all(is_loopback(each) for each in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"))
    assert not any(is_loopback(each) for each in ("", "0.0.0.0", "::", "10.0.0.1", "example.org"))
    assert all(is_any(each) for each in ("", "0.0.0.0", "::"))
    assert not any(is_loopback(each) or is_any(each) for each in lan_addresses())


def test_the_file_is_the_one_that_is_documented(tmp_path: Path) -> None:
    """docs/security.md names it."""
    tls_files(self_signed(tmp_path))
    assert (tmp_path / FILE).is_file()
    assert FILE in (Path(__file__).parents[3] / "docs/security.md").read_text()
