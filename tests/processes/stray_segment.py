"""Send a TCP segment of no connection, and tell whether a reset comes back: `stray_segment.py OWN OTHER`."""

import select
import socket
import struct
import sys
import time

OWN_PORT, PORT, ACK, RST = 40000, 8080, 0x10, 0x04


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def segment(own: str, other: str) -> bytes:
    bare = struct.pack("!HHIIBBHHH", OWN_PORT, PORT, 1000, 2000, 5 << 4, ACK, 1024, 0, 0)
    pseudo = (
        socket.inet_aton(own) + socket.inet_aton(other) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(bare))
    )
    return bare[:16] + struct.pack("!H", checksum(pseudo + bare)) + bare[18:]


def answered(raw: socket.socket, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while select.select([raw], [], [], max(0.0, deadline - time.monotonic()))[0]:
        packet = raw.recv(200)
        header = (packet[0] & 0xF) * 4
        if struct.unpack("!HH", packet[header : header + 4]) == (PORT, OWN_PORT) and packet[header + 13] & RST:
            return True
    return False


own, other = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
    raw.sendto(segment(own, other), (other, 0))
    print("reset" if answered(raw, 1.5) else "silence")
