"""An application that a pod runs by `python3 -c`: HTTP on 8080 and 8081, lines on 9000, gRPC's health on 9090.

Nothing but Python is there, so the gRPC server writes HTTP/2 by hand: just enough for a probe.
"""

import socketserver
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SETTINGS, PING, ACK, END_STREAM, END_HEADERS = 4, 6, 1, 1, 4


class Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(self.headers.get("x-forwarded-client-cert")).encode())


class Greeter(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"hello\n")


class Health(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.read(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
        self.frame(SETTINGS, 0, 0)
        while head := self.rfile.read(9):
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            body = self.rfile.read(int.from_bytes(head[:3], "big"))
            if kind in {SETTINGS, PING} and not flags & ACK:
                self.frame(kind, ACK, 0, body if kind == PING else b"")
            elif kind in {0, 1} and flags & END_STREAM:
                # :status 200 is in the static table; SERVING is field 1 with value 1
                self.frame(1, END_HEADERS, stream, b"\x88" + self.literal("content-type", "application/grpc"))
                self.frame(0, 0, stream, b"\0\0\0\0\2\x08\1")
                self.frame(1, END_HEADERS | END_STREAM, stream, self.literal("grpc-status", "0"))

    def frame(self, kind: int, flags: int, stream: int, body: bytes = b"") -> None:
        self.wfile.write(len(body).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + body)

    def literal(self, name: str, value: str) -> bytes:
        return b"\0" + b"".join(bytes([len(each)]) + each.encode() for each in (name, value))


socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer.allow_reuse_address = True
for server in (
    ThreadingHTTPServer(("0.0.0.0", 8081), Web),
    socketserver.ThreadingTCPServer(("0.0.0.0", 9000), Greeter),
    socketserver.ThreadingTCPServer(("0.0.0.0", 9090), Health),
):
    threading.Thread(target=server.serve_forever, daemon=True).start()
ThreadingHTTPServer(("0.0.0.0", 8080), Web).serve_forever()
