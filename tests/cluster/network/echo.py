"""A server for tests: says its name, and who called, to each line that it gets.

Arguments: name, IP, TCP port, UDP port.
"""

import socket
import socketserver
import sys
import threading


class Line(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline():
            self.wfile.write(f"{sys.argv[1]} {self.client_address[0]}\n".encode())


class Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        reply: socket.socket = self.request[1]
        reply.sendto(f"{sys.argv[1]} {self.client_address[0]}\n".encode(), self.client_address)


socketserver.ThreadingTCPServer.allow_reuse_address = True
tcp = socketserver.ThreadingTCPServer((sys.argv[2], int(sys.argv[3])), Line)
udp = socketserver.UDPServer((sys.argv[2], int(sys.argv[4])), Datagram)
threading.Thread(target=udp.serve_forever, daemon=True).start()
tcp.serve_forever()
