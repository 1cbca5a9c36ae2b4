"""A host outside of the mesh, on ports 80 and 443: it answers with what it saw of the request and of TLS.

    python outside.py FOLDER

The folder has a PEM file (certificate and key) for each server name. Names in `FOLDER/mutual` want to see a
certificate of the clients' authority, `FOLDER/clients.pem`.
"""

import http.server
import json
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

MUTUAL = (Path(sys.argv[1]) / "mutual").read_text().split()
"""Names that only talk to clients with a certificate."""


class Answer(http.server.BaseHTTPRequestHandler):
    """Tells what it saw."""

    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Shake hands first, here where a client that refuses holds up nobody else."""
        try:
            made: Any = self.connection
            if isinstance(made, ssl.SSLSocket):
                made.do_handshake()
                if made.asked_for in MUTUAL and not made.getpeercert():  # type: ignore[attr-defined]  # set below
                    return
            super().handle()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        """Answer."""
        made: Any = self.connection
        over_tls = isinstance(made, ssl.SSLSocket)
        client: Any = (made.getpeercert() if over_tls else None) or {}
        seen = {
            "scheme": "https" if over_tls else "http",
            "sni": getattr(made, "asked_for", None),
            "alpn": made.selected_alpn_protocol() if over_tls else None,
            "host": self.headers["host"],
            "path": self.path,
            "client": [name for _, name in client.get("subjectAltName", ())],
        }
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def context(folder: Path) -> ssl.SSLContext:
    """One that shows the certificate of the name that is asked for."""

    def made() -> ssl.SSLContext:
        new = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        new.set_alpn_protocols(["http/1.1"])
        # whether one is needed is known once the name is, which is too late to ask for it
        new.verify_mode = ssl.CERT_OPTIONAL
        new.load_verify_locations(folder / "clients.pem")
        return new

    known = {}
    for file in folder.glob("*.pem"):
        if file.stem != "clients":
            known[file.stem] = made()
            known[file.stem].load_cert_chain(file)

    def choose(connection: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        connection.asked_for = name
        if name not in known:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = known[name]
        return None

    outer = made()
    outer.sni_callback = choose
    return outer


def main() -> None:
    """Serve until killed."""
    plain = http.server.ThreadingHTTPServer(("0.0.0.0", 80), Answer)
    secure = http.server.ThreadingHTTPServer(("0.0.0.0", 443), Answer)
    secure.socket = context(Path(sys.argv[1])).wrap_socket(
        secure.socket, server_side=True, do_handshake_on_connect=False
    )
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    print("listening", flush=True)
    secure.serve_forever()


if __name__ == "__main__":
    main()
