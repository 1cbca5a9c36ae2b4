"""Cases of gateways in the real Envoy: asked by curl, and by bare connections, from outside."""

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tests.cases.edge import REFUSED, EdgeCase, EdgeRequest, chain_of, place
from tests.cases.in_envoy import Answer, Place, Seen, led
from tests.support import edge_pki, envoy, ext_authz

from weft.adapters import netns
from weft.model.server_tls import CertificateFile, Credential, SecretName, ServerMode
from weft.xds import names
from weft.xds.generate import Generator
from weft.xds.proto import secret_pb2
from weft.xds.resource import CLUSTER

_OPENSSL_CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
_CURL_VERSIONS = {"TLSv1_0": "1.0", "TLSv1_1": "1.1", "TLSv1_2": "1.2", "TLSv1_3": "1.3"}
# curl: could not connect, lost it in HTTP/2, handshake failed, empty answer, could not send, could not receive
_NOT_SERVED = {7, 16, 35, 52, 55, 56}
_PROTOCOLS = {"2": "h2", "1.1": "http/1.1", "1": "http/1.0", "1.0": "http/1.0"}


@dataclass
class EdgeAnswer(Answer):
    """`status` 0 stands for a connection that was refused, at whatever stage."""

    protocol: str = ""


@dataclass
class Gateway:
    """A gateway's Envoy."""

    edge: EdgeCase
    here: Place
    addresses: dict[str, str]
    folder: Path

    def ask(self, asked: EdgeRequest) -> EdgeAnswer:
        """Send one request of the case."""
        self.here.seen.clear()
        command = ["nsenter", f"--net=/run/netns/{self.here.namespace}", "curl", *self._arguments(asked)]
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        if done.returncode in _NOT_SERVED:
            return EdgeAnswer(0, {}, b"", None)
        assert done.returncode == 0, (asked, done.returncode, done.stderr.decode())
        return _answer(done.stdout)

    def is_trusted(self, asked: EdgeRequest) -> bool:
        """Whether the certificate shown is one for the host that is asked for."""
        command = ["nsenter", f"--net=/run/netns/{self.here.namespace}", "curl", *self._arguments(asked)]
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        assert done.returncode in {0, 60}, done.stderr
        return done.returncode == 0

    def connect(self, asked: EdgeRequest) -> str:
        """The cluster that a connection comes to, REFUSED if none."""
        server = netns.inside(self.here.namespace, lambda: self._connected(asked))
        return self._place(server) if server else REFUSED

    def destination(self, answer: EdgeAnswer) -> str:
        """Where the answer came from, as cases write it."""
        if not answer.status:
            return REFUSED
        return str(answer.status) if answer.seen is None else self._place(answer.seen.server)

    def _place(self, server: str) -> str:
        return place(next(name for name, address in self.addresses.items() if address == server))

    def _arguments(self, asked: EdgeRequest) -> Iterator[str]:
        request = asked.request
        query = "&".join(f"{name}={value}" for name, value in request.query)
        host = asked.server_name if asked.server_name is not None else request.address
        authority = request.address if request.port in {80, 443} else f"{request.address}:{request.port}"
        at = asked.at or "127.0.0.1"
        url = f"{request.scheme}://{host or at}:{request.port}{request.path}" + (f"?{query}" if query else "")
        yield from ("-sS", "-i", "--max-time", "10", "--path-as-is", "--write-out", "\n%{http_version}", url)
        yield from ("--connect-to", f"::{at}:{asked.port}")
        headers = {"host": authority} | dict(request.headers)
        for name, value in headers.items():
            yield from ("-H", f"{name}: {value}")
        yield from ("--head",) if request.method == "HEAD" else ("-X", request.method)
        yield from _protocols(asked)
        if asked.server_name is None:
            return
        # the certificate shown must be that of the name asked for
        chain = chain_of(asked, self.edge)
        mesh = chain is not None and chain.tls is not None and chain.tls.mode is ServerMode.ISTIO_MUTUAL
        proper = bool(asked.server_name) and not mesh
        yield from ("--cacert", str(self.folder / "servers.pem")) if proper else ("-k",)
        yield from _tls(asked)
        if asked.certificate:
            where = self.folder / asked.certificate
            yield from ("--cert", f"{where}.pem", "--key", f"{where}-key.pem")

    def _connected(self, asked: EdgeRequest) -> str:
        try:
            with socket.create_connection((asked.at or "127.0.0.1", asked.port), timeout=10) as plain:
                if asked.server_name is None:
                    plain.sendall(b"hello\n")
                    return _line(plain)
                context = self._context(asked)
                if not asked.ended:
                    plain.sendall(_hello(context, asked.server_name))
                    return _line(plain)
                with context.wrap_socket(plain, server_hostname=asked.server_name or None) as secure:
                    secure.sendall(b"hello\n")
                    return _line(secure)
        except (ConnectionError, ssl.SSLError):
            return ""

    def _context(self, asked: EdgeRequest) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if asked.alpn:
            context.set_alpn_protocols(list(asked.alpn))
        if asked.certificate:
            where = self.folder / asked.certificate
            context.load_cert_chain(f"{where}.pem", f"{where}-key.pem")
        return context


@contextmanager
def gateway(edge: EdgeCase, here: Place, folder: Path) -> Iterator[tuple[Gateway, envoy.Management]]:
    """Start the gateway's Envoy with the resources of a case; `folder` is that of its files."""
    write_files(folder)
    resources = Generator().resources(edge.case.view)
    asked = {each.host for each in edge.case.snapshot.mesh.providers}
    clusters = sorted(
        name for name in resources[CLUSTER] if name.startswith("outbound") and name.rpartition("|")[2] not in asked
    )
    addresses = {name: f"127.1.{number // 200}.{1 + number % 200}" for number, name in enumerate(clusters)}
    started = envoy.started(
        led(resources, addresses), edge_pki.gateway(), namespace=here.namespace, secrets=secrets(edge)
    )
    # where no case asks a provider, its ports are the gateway's to take
    provider = ext_authz.Provider(ext_authz.by_header)
    answering = ext_authz.serving(provider, "127.64.0.1", here.namespace) if asked else nullcontext()
    with answering, started as (running, management):
        missing = {name for name, secret in secrets(edge).items() if secret is None}
        envoy.wait_until(lambda: running.awaited_secrets() <= missing)
        yield Gateway(edge, here, addresses, folder), management
        assert management.rejected == []


def write_files(folder: Path) -> None:
    """All that a case may refer to as `CERTS/…`, and what its clients use."""
    server = edge_pki.server(("files.example.com",))
    files = {"servers": edge_pki.SERVERS.roots, "roots": edge_pki.CLIENTS.roots, "crl": edge_pki.REVOCATIONS}
    files |= {"server": server.chain, "server-key": server.key}
    for name, each in edge_pki.clients().items():
        files |= {name: each.chain, f"{name}-key": each.key}
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for name, text in files.items():
        (folder / f"{name}.pem").write_text(text)


def secrets(edge: EdgeCase) -> dict[str, bytes | None]:
    """What istiod and the agent would give: a certificate for the names of each server, roots for clients."""
    router = edge.case.view.router
    assert router is not None
    asked: dict[str, set[str]] = {}
    found: dict[str, bytes | None] = {}
    for chain in (chain for each in router.listeners for chain in each.chains):
        tls = chain.tls
        for each in tls.certificates if tls else ():
            name = (
                names.secret(each.name)
                if isinstance(each, SecretName)
                else names.file_certificate(each.path, each.key)
            )
            asked.setdefault(name, set()).update(chain.match.server_names)
        match tls.roots if tls else None:
            case SecretName(name):
                found[names.secret(name)] = roots(names.secret(name))
            case CertificateFile(path, _):
                found[names.file_roots(path)] = roots(names.file_roots(path))
    for name, hosts in asked.items():
        missing = "missing" in name
        found[name] = None if missing else certificate(name, tuple(sorted(hosts)) or ("any.example.com",))
    return found


def _sds_name(each: Credential) -> str:
    match each:
        case SecretName(name):
            return names.secret(name)
        case CertificateFile(path, key):
            return names.file_certificate(path, key)


def certificate(name: str, hosts: tuple[str, ...]) -> bytes:
    """A Secret with a server's certificate, of RSA where the name says so."""
    issued = edge_pki.server(hosts, with_rsa="rsa" in name)
    chain, key = {"inline_string": issued.chain}, {"inline_string": issued.key}
    return _secret(name, {"tls_certificate": {"certificate_chain": chain, "private_key": key}})


def roots(name: str, *, revoking: bool = False) -> bytes:
    """A Secret with the roots of clients, and perhaps what they revoke."""
    context = {"trusted_ca": {"inline_string": edge_pki.CLIENTS.roots}}
    if revoking:
        context["crl"] = {"inline_string": edge_pki.REVOCATIONS}
    return _secret(name, {"validation_context": context})


def _secret(name: str, body: dict[str, Any]) -> bytes:
    return bytes(json_format.ParseDict({"name": name, **body}, secret_pb2.Secret()).SerializeToString())


def _protocols(asked: EdgeRequest) -> Iterator[str]:
    if asked.server_name is None:
        yield {"h2": "--http2-prior-knowledge", "http/1.0": "--http1.0"}.get(asked.alpn[0], "--http1.1")
    elif not asked.alpn:
        yield from ("--no-alpn", "--http1.1")
    else:
        yield "--http2" if "h2" in asked.alpn else "--http1.1"


def _tls(asked: EdgeRequest) -> Iterator[str]:
    if asked.versions != ("TLSv1_2", "TLSv1_3"):
        versions = [_CURL_VERSIONS[each] for each in asked.versions]
        yield from (f"--tlsv{versions[0]}", "--tls-max", versions[-1])
    ciphers = ":".join(asked.cipher_suites)
    if asked.versions[0] in {"TLSv1_0", "TLSv1_1"}:
        ciphers = f"{ciphers or 'DEFAULT'}:@SECLEVEL=0"
    if ciphers:
        yield from ("--ciphers", ciphers)
    if asked.curves:
        yield from ("--curves", ":".join(_OPENSSL_CURVES.get(each, each) for each in asked.curves))


def _answer(output: bytes) -> EdgeAnswer:
    output, _, version = output.rpartition(b"\n")
    head, _, body = output.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    seen = Seen(**json.loads(headers["x-seen"][0])) if "x-seen" in headers else None
    return EdgeAnswer(int(status.split()[1]), headers, body, seen, _PROTOCOLS[version.decode()])


def _hello(context: ssl.SSLContext, server_name: str) -> bytes:
    """The first message of a handshake."""
    sent = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=server_name or None)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake without an answer")


def _line(connection: socket.socket) -> str:
    received = b""
    while not received.endswith(b"\n"):
        more = connection.recv(200)
        if not more:
            break
        received += more
    return received.decode().strip()
