"""Gateway (networking.istio.io): ports, hosts and TLS of the proxies at the edge of the mesh."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.shape import Port, Resource, Shape

TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]
Mode = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]


class ServerPort(Shape, frozen=True):
    """Where clients come in."""

    number: Annotated[
        Port, Meta(description="The port of the gateway's Service, or of its pods if no Service has it.")
    ]
    protocol: Annotated[
        str, Meta(description="HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL or REDIS.")
    ]
    name: Annotated[str, Meta(description="A name, of its own among the servers.")] = ""
    target_port: Annotated[Port | None, Meta(description="Without effect, as in Istio: the Service says it.")] = (
        None
    )


class CertificateFiles(Shape, frozen=True):
    """A certificate in files of the gateway's pod."""

    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTls(Shape, frozen=True):
    """How TLS is ended, or passed on."""

    https_redirect: Annotated[bool | None, Meta(description="Send plaintext requests to https.")] = None
    mode: Annotated[Mode, Meta(description="PASSTHROUGH is the default.")] = "PASSTHROUGH"
    server_certificate: Annotated[str, Meta(description="A file of the gateway's pod, PEM.")] = ""
    private_key: Annotated[str, Meta(description="A file of the gateway's pod, PEM.")] = ""
    ca_certificates: Annotated[str, Meta(description="Roots of clients' certificates: a file, PEM.")] = ""
    ca_crl: Annotated[str, Meta(description="Revoked certificates of clients: a file, PEM.")] = ""
    credential_name: Annotated[str, Meta(description="A Secret in the namespace of the gateway's pod.")] = ""
    credential_names: Annotated[
        tuple[str, ...], Meta(description="Two Secrets, one with an RSA key and one with an ECDSA key.")
    ] = ()
    ca_cert_credential_name: Annotated[
        str, Meta(description="A Secret with the roots of clients' certificates, in place of NAME-cacert.")
    ] = ""
    tls_certificates: Annotated[
        tuple[CertificateFiles, ...], Meta(description="Two certificates in files: one RSA, one ECDSA.")
    ] = ()
    subject_alt_names: Annotated[
        tuple[str, ...], Meta(description="Who a client may be, by its certificate.")
    ] = ()
    verify_certificate_spki: Annotated[
        tuple[str, ...], Meta(description="SHA-256 of clients' public keys, base64.")
    ] = ()
    verify_certificate_hash: Annotated[
        tuple[str, ...], Meta(description="SHA-256 of clients' certificates, in hexadecimal digits.")
    ] = ()
    min_protocol_version: Annotated[TlsVersion, Meta(description="TLS_AUTO is TLS 1.2.")] = "TLS_AUTO"
    max_protocol_version: Annotated[TlsVersion, Meta(description="TLS_AUTO is TLS 1.3.")] = "TLS_AUTO"
    cipher_suites: Annotated[tuple[str, ...], Meta(description="For TLS 1.2 and older, by OpenSSL's names.")] = ()
    ecdh_curves: Annotated[tuple[str, ...], Meta(description="For the key exchange, the best first.")] = ()
    insecure_skip_verify: Annotated[
        bool | None, Meta(description="Take clients' certificates without verifying who signed them.")
    ] = None


class Server(Shape, frozen=True):
    """One port, the hosts behind it, and how TLS is done there."""

    port: ServerPort
    hosts: Annotated[
        tuple[str, ...],
        Meta(description='Hosts and wildcards; "ns/host" takes them from VirtualServices of that namespace only.'),
    ] = ()
    bind: Annotated[str, Meta(description="The address to listen at; all, if empty.")] = ""
    tls: ServerTls | None = None
    default_endpoint: Annotated[str, Meta(description="Without effect, as in Istio.")] = ""
    name: Annotated[str, Meta(description="A name for its statistics.")] = ""


class GatewaySpec(Shape, frozen=True):
    """Servers, and the pods that are to be them."""

    servers: tuple[Server, ...] = ()
    selector: Annotated[
        dict[str, str], Meta(description="Labels of the gateways' pods, in any namespace; none: all gateways.")
    ] = field(default_factory=dict)


class Gateway(Resource, frozen=True):
    """What the proxies at the edge of the mesh serve."""

    spec: GatewaySpec = GatewaySpec()
