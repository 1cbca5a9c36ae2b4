"""DNS messages in and out: bytes to a question, an answer to bytes. Pure; never raises for what clients send."""
# dnslib has no types; it is met here and nowhere else
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Sequence
from dataclasses import dataclass

import dnslib
from dnslib import CLASS, EDNS0, QTYPE, RCODE, RR, SOA, DNSHeader, DNSQuestion, DNSRecord

from weft.adapters.dns.answers import A, Aaaa, Absent, Answer, Cname, Elsewhere, Found, Ptr, Record, Srv

TTL = 5
"""Seconds that answers may be kept: services come and go (CoreDNS's own default for Kubernetes)."""

PLAIN_UDP = 512
"""Bytes of an answer by UDP where the client names no size (RFC 1035, 4.2.1)."""

_LONGEST_LABEL = 63
_LARGEST_UDP = 1232  # bytes: what fits an IPv6 packet everywhere (DNS flag day 2020)


@dataclass(frozen=True, slots=True)
class Query:
    """A question that can be answered, and the message it came in."""

    name: str
    kind: str
    message: DNSRecord

    @property
    def udp_size(self) -> int:
        """How large an answer by UDP may be, in bytes."""
        for extra in self.message.ar:
            if extra.rtype == QTYPE.OPT:
                return min(max(int(extra.edns_len), PLAIN_UDP), _LARGEST_UDP)
        return PLAIN_UDP


def parse(data: bytes) -> Query | bytes | None:
    """A query; or the bytes to answer one that cannot be; or None for what deserves no answer (RFC 1035, 4.1.1).

    >>> parse(b"") is None
    True
    """
    try:
        message = DNSRecord.parse(data)
    except Exception:  # noqa: BLE001 -- dnslib raises whatever its decoding trips over
        return _format_error(data)
    header = message.header
    if header.qr:
        return None  # an answer: nobody here asked
    if header.opcode != 0:
        return _bare(header.id, RCODE.NOTIMP, opcode=header.opcode)
    if len(message.questions) != 1:
        return _bare(header.id, RCODE.FORMERR)
    question = message.questions[0]
    if any(len(label) > _LONGEST_LABEL for label in question.qname.label):
        return _bare(header.id, RCODE.FORMERR)  # dnslib reads what it cannot write
    if CLASS.get(question.qclass) != "IN":
        return respond(Query(str(question.qname), "", message), None, rcode=RCODE.REFUSED)
    return Query(str(question.qname).lower().rstrip("."), _type_name(question), message)


def respond(query: Query, answer: Answer | None, *, domain: str = "", rcode: int = RCODE.NOERROR) -> bytes:
    """The answer's bytes. None: nothing but `rcode`. A name elsewhere that nobody was asked about is REFUSED."""
    reply = DNSRecord(
        DNSHeader(id=query.message.header.id, qr=1, aa=1, ra=1, rd=query.message.header.rd), q=query.message.q
    )
    match answer:
        case Found(records, additional):
            _add(reply, records, additional)
        case Absent():
            rcode = RCODE.NXDOMAIN
        case Elsewhere(_, records):
            _add(reply, records, ())
            reply.header.aa = 0
            rcode = rcode or RCODE.REFUSED
        case None:
            reply.header.aa = 0
    reply.header.rcode = rcode
    if domain and not reply.rr and reply.header.aa:
        # how long the absence may be remembered (RFC 2308)
        times = (1, 7200, 1800, 86400, TTL)
        soa = SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", times)
        reply.add_auth(RR(domain, QTYPE.SOA, rdata=soa, ttl=TTL))
    if any(extra.rtype == QTYPE.OPT for extra in query.message.ar):
        reply.add_ar(EDNS0(udp_len=_LARGEST_UDP))
    return bytes(reply.pack())


def onward(query: Query, name: str) -> bytes:
    """The question for an upstream about a name that the one asked for stands for."""
    asked = DNSRecord(DNSHeader(id=query.message.header.id, rd=1))
    asked.add_question(DNSQuestion(name, query.message.questions[0].qtype))
    return bytes(asked.pack())


def joined(query: Query, records: Sequence[Record], upstream: bytes) -> bytes:
    """The aliases that led outside, then what the upstream answered about where they lead."""
    try:
        outside = DNSRecord.parse(upstream)
    except Exception:  # noqa: BLE001 -- dnslib raises whatever its decoding trips over
        return respond(query, None, rcode=RCODE.SERVFAIL)
    reply = DNSRecord.parse(respond(query, Found(tuple(records)), rcode=outside.header.rcode))
    reply.header.aa = 0
    for record in outside.rr:
        reply.add_answer(record)
    return bytes(reply.pack())


def for_udp(query: Query, data: bytes) -> bytes:
    """The answer as it fits a datagram: whole, or empty with the mark that says `ask again by TCP`."""
    if len(data) <= query.udp_size:
        return data
    return bytes(DNSRecord.parse(data).truncate().pack())


def ask(name: str, kind: str) -> bytes:
    """A question as a client sends it."""
    return bytes(DNSRecord.question(name, kind).pack())


def outcome(reply: bytes) -> tuple[str, tuple[str, ...]]:
    """The response code (`NOERROR`) and the data of all answers as text; ValueError if it is no message."""
    try:
        message = DNSRecord.parse(reply)
    except dnslib.DNSError as error:
        raise ValueError(f"not a DNS message: {error}") from error
    return str(RCODE.get(message.header.rcode)), tuple(str(record.rdata) for record in message.rr)


def rcode_name(reply: bytes) -> str:
    """The response code's name, from the header alone."""
    return str(RCODE.get(reply[3] & 0x0F))


def is_from(data: bytes, query: Query) -> bool:
    """Whether a message answers this query: its number and its question are the query's."""
    try:
        message = DNSRecord.parse(data)
    except Exception:  # noqa: BLE001 -- dnslib raises whatever its decoding trips over
        return False
    header, asked = message.header, query.message
    return bool(header.qr and header.id == asked.header.id and message.questions == asked.questions)


SERVFAIL = int(RCODE.SERVFAIL)


def _add(reply: DNSRecord, records: Sequence[Record], additional: Sequence[A]) -> None:
    for record in records:
        reply.add_answer(_encode(record))
    for record in additional:
        reply.add_ar(_encode(record))


def _encode(record: Record) -> RR:
    match record:
        case A(name, ip):
            return RR(name, QTYPE.A, rdata=dnslib.A(ip), ttl=TTL)
        case Aaaa(name, ip):
            return RR(name, QTYPE.AAAA, rdata=dnslib.AAAA(ip), ttl=TTL)
        case Cname(name, target):
            return RR(name, QTYPE.CNAME, rdata=dnslib.CNAME(target), ttl=TTL)
        case Srv(name, port, target):
            return RR(name, QTYPE.SRV, rdata=dnslib.SRV(0, 100, port, target), ttl=TTL)
        case Ptr(name, target):
            return RR(name, QTYPE.PTR, rdata=dnslib.PTR(target), ttl=TTL)


def _type_name(question: DNSQuestion) -> str:
    return str(QTYPE.get(question.qtype))


def _format_error(data: bytes) -> bytes | None:
    # too short for a header, or an answer: silence, so that two servers cannot keep each other busy
    if len(data) < 12 or data[2] & 0x80:
        return None
    return _bare(int.from_bytes(data[:2], "big"), RCODE.FORMERR)


def _bare(identity: int, rcode: int, *, opcode: int = 0) -> bytes:
    return bytes(DNSRecord(DNSHeader(id=identity, qr=1, rcode=rcode, opcode=opcode)).pack())
