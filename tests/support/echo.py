"""An application for tests: answers requests with what it saw, greets on a second port before it is spoken to, and
answers gRPC on a third.

Arguments: name, HTTP port, TCP port, gRPC port. Prints one line when all listen.
"""

import json
import socketserver
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "app"
    sys_version = ""
    wbufsize = 65536  # headers and body in one packet

    def do_GET(self) -> None:
        if self.headers.get("upgrade"):
            self.upgrade()
            return
        seen = {
            "name": sys.argv[1],
            "path": self.path,
            "version": self.request_version,
            "peer": self.client_address[0],
            "headers": {key.lower(): value for key, value in self.headers.items()},
        }
        body = json.dumps(seen).encode() + b"\n"
        time.sleep(float(self.headers.get("x-wait", "0")))
        self.send_response(int(self.headers.get("x-answer", "200")))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def upgrade(self) -> None:
        self.send_response(101)
        self.send_header("connection", "Upgrade")
        self.send_header("upgrade", self.headers["upgrade"])
        self.end_headers()
        self.wfile.flush()
        self.wfile.write(b"you said " + self.rfile.readline())
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


class Greeter(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(f"hello from {sys.argv[1]}\n".encode())
        line = self.rfile.readline()
        self.wfile.write(b"you said " + line)


def rpc_answer(request: bytes, context: Any) -> bytes:
    names = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
    return sys.argv[1].encode() + b" heard " + request + b" " + names.get("x-forwarded-client-cert", "").encode()


def main() -> None:
    http = ThreadingHTTPServer(("0.0.0.0", int(sys.argv[2])), Echo)
    socketserver.ThreadingTCPServer.daemon_threads = True
    tcp = socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[3])), Greeter)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    rpc = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(rpc_answer)
    rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Say": handler}),))
    rpc.add_insecure_port(f"0.0.0.0:{sys.argv[4]}")
    rpc.start()
    print("listening", flush=True)
    http.serve_forever()


if __name__ == "__main__":
    main()
