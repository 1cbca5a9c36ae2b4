"""Ingress and IngressClass (networking.k8s.io/v1), the fields that the mesh reads.

The API server has checked them: what is here keeps Kubernetes' rules.
"""

from weft.api.kubernetes import LoadBalancer, ObjectMeta, Partial

CONTROLLER = "istio.io/ingress-controller"
"""The controller of IngressClasses that the mesh serves."""

CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class IngressMeta(ObjectMeta, frozen=True):
    """Metadata, and how old the object is: the older one wins."""

    creation_timestamp: str = ""


class ServicePort(Partial, frozen=True):
    """A port of a Service, by its name or its number."""

    name: str = ""
    number: int = 0


class ServiceBackend(Partial, frozen=True):
    """A Service of the Ingress's namespace."""

    name: str = ""
    port: ServicePort = ServicePort()


class ResourceBackend(Partial, frozen=True):
    """Something else than a Service."""

    kind: str = ""
    name: str = ""


class Backend(Partial, frozen=True):
    """Where requests go."""

    service: ServiceBackend | None = None
    resource: ResourceBackend | None = None


class Path(Partial, frozen=True):
    """Requests by their path. `path_type` is Exact, Prefix or ImplementationSpecific."""

    path: str = ""
    path_type: str = "ImplementationSpecific"
    backend: Backend = Backend()


class Paths(Partial, frozen=True):
    """The paths of a host."""

    paths: tuple[Path, ...] | None = None


class Rule(Partial, frozen=True):
    """Requests to a host; to any, if it is empty. A `*.` stands for one label."""

    host: str = ""
    http: Paths | None = None


class Tls(Partial, frozen=True):
    """Hosts that are served over TLS, with the certificate of a Secret in the gateway's namespace."""

    hosts: tuple[str, ...] | None = None
    secret_name: str = ""


class IngressSpec(Partial, frozen=True):
    """What an Ingress asks for."""

    ingress_class_name: str | None = None
    default_backend: Backend | None = None
    tls: tuple[Tls, ...] | None = None
    rules: tuple[Rule, ...] | None = None


class IngressStatus(Partial, frozen=True):
    """What is told of an Ingress."""

    load_balancer: LoadBalancer = LoadBalancer()


class Ingress(Partial, frozen=True):
    """An Ingress."""

    metadata: IngressMeta = IngressMeta()
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassSpec(Partial, frozen=True):
    """Who serves a class."""

    controller: str = ""


class IngressClass(Partial, frozen=True):
    """An IngressClass."""

    metadata: ObjectMeta = ObjectMeta()
    spec: IngressClassSpec = IngressClassSpec()
