"""Tells the operator where the server can be opened: its address, the link for one use, the certificate, a QR code."""

import io
from dataclasses import dataclass

import segno
from rich.console import Console
from rich.markup import escape

from server.http.access import ENTRY_S, AccessControl
from server.security.addresses import is_any, is_loopback, lan_addresses
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where one server can be opened. `fingerprint`: of a self-signed certificate."""

    settings: Settings
    port: int
    fingerprint: str = ""

    @property
    def urls(self) -> list[str]:
        """The addresses of the page: first one for this machine, then, where it is another, one for its network."""
        host = self.settings.host
        everywhere = is_any(host)
        hosts = ["localhost" if everywhere or host in ("127.0.0.1", "::1") else host]
        if everywhere:
            hosts += lan_addresses()[:1]
        scheme = "https" if self.settings.tls else "http"
        return [f"{scheme}://{f'[{each}]' if ':' in each else each}:{self.port}" for each in hosts]

    def show(self, console: Console, access: AccessControl) -> None:
        """Prints what is beside the address itself; secrets go to the terminal and never into the log."""
        links = self.urls
        if self.fingerprint:
            console.print(f"self-signed certificate, SHA-256 {self.fingerprint}")
            console.print("[dim]browsers warn of it once; go on where they show this fingerprint[/]")
        if self.settings.private or self.settings.secret is not None:
            entry = access.entry_token()
            links = [f"{url}/#join={entry}" for url in links]
            console.print(f"your own way in, for one use within {ENTRY_S // 60} minutes: [bold]{escape(links[0])}[/]")
            console.print("[dim]let others in by the page's share link, or by relight token[/]")
        if len(links) > 1:
            console.print(f"from another device: [bold]{escape(links[1])}[/]")
        if console.is_terminal and not is_loopback(self.settings.host):
            console.print(terminal_code(links[-1]), markup=False, highlight=False)


def terminal_code(url: str) -> str:
    """Returns the QR code of an address in characters of a terminal."""
    drawn = io.StringIO()
    segno.make_qr(url, error="l").terminal(drawn, compact=True)
    return drawn.getvalue()
