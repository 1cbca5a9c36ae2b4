"""The AuthorizationPolicy resource as users write it (security.istio.io)."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from weft.api.policy_target import PolicyTarget
from weft.api.shape import Metadata, Resource, Shape, WorkloadSelector

Strings = tuple[str, ...]
Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]


class Source(Shape, frozen=True):
    """Who asks. Values of one field are alternatives; fields must hold all. `*` may begin or end most values."""

    principals: Annotated[Strings, Meta(description="Peers: cluster.local/ns/NAMESPACE/sa/ACCOUNT.")] = ()
    not_principals: Strings = ()
    request_principals: Annotated[Strings, Meta(description="Whom the token is for: ISSUER/SUBJECT.")] = ()
    not_request_principals: Strings = ()
    namespaces: Annotated[Strings, Meta(description="Namespaces of peers.")] = ()
    not_namespaces: Strings = ()
    service_accounts: Annotated[
        Strings, Meta(description="Accounts of peers: ACCOUNT in the policy's namespace, or NAMESPACE/ACCOUNT.")
    ] = ()
    not_service_accounts: Strings = ()
    trust_domains: Annotated[Strings, Meta(description="Trust domains of peers.")] = ()
    not_trust_domains: Strings = ()
    ip_blocks: Annotated[Strings, Meta(description="Addresses that connections come from.")] = ()
    not_ip_blocks: Strings = ()
    remote_ip_blocks: Annotated[
        Strings, Meta(description="Addresses of clients, behind the proxies that are trusted.")
    ] = ()
    not_remote_ip_blocks: Strings = ()


class Operation(Shape, frozen=True):
    """What is asked for. Values of one field are alternatives; fields must hold all."""

    hosts: Strings = ()
    not_hosts: Strings = ()
    ports: Annotated[Strings, Meta(description="Ports of the pod.")] = ()
    not_ports: Strings = ()
    methods: Strings = ()
    not_methods: Strings = ()
    paths: Annotated[
        Strings, Meta(description="Paths; * may begin or end one, {*} stands for a segment, {**} for any.")
    ] = ()
    not_paths: Strings = ()


class From(Shape, frozen=True):
    """One sender."""

    source: Source | None = None


class To(Shape, frozen=True):
    """One operation."""

    operation: Operation | None = None


class Condition(Shape, frozen=True):
    """A demand on one attribute of the request or connection."""

    key: Annotated[str, Meta(description="Such as request.headers[x-version] or request.auth.claims[group].")] = ""
    values: Strings = ()
    not_values: Strings = ()


class Rule(Shape, frozen=True):
    """One of the senders, one of the operations and all of the conditions must fit; what is left out fits all."""

    from_: tuple[From, ...] | None = field(default=None, name="from")
    to: tuple[To, ...] | None = None
    when: tuple[Condition, ...] = ()


class Provider(Shape, frozen=True):
    """A service that decides, by its name in MeshConfig.extensionProviders."""

    name: str = ""


class AuthorizationPolicySpec(Shape, frozen=True):
    """What an AuthorizationPolicy says."""

    selector: Annotated[
        WorkloadSelector | None,
        Meta(description="Without it, all workloads of the namespace; of the root one, all of the mesh."),
    ] = None
    target_ref: PolicyTarget | None = None
    target_refs: tuple[PolicyTarget, ...] = ()
    action: Action = "ALLOW"
    rules: Annotated[
        tuple[Rule, ...], Meta(description="Requests that it is for: none without a rule, all by an empty one.")
    ] = ()
    provider: Provider | None = None


class AnnotatedMetadata(Metadata, frozen=True, kw_only=True, rename="camel"):
    """With the annotations that policies heed."""

    annotations: dict[str, Any] | None = None


class AuthorizationPolicy(Resource, frozen=True, kw_only=True):
    """Who may ask what of workloads."""

    metadata: AnnotatedMetadata = AnnotatedMetadata()
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()

    @property
    def dry_run(self) -> bool:
        """Whether it is only to be counted what it would do (`istio.io/dry-run`)."""
        return str((self.metadata.annotations or {}).get("istio.io/dry-run", "")).lower() in {"true", "1", "t"}
