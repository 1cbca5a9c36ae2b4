"""The kinds that Weft speaks of, and where the API keeps them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object. The group of core kinds is empty."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The value of `apiVersion` in an object of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of a subresource of it."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return root + scope + "".join(f"/{part}" for part in (self.plural, name, subresource) if part)


NAMESPACES = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
NODES = Kind("", "v1", "Node", "nodes", namespaced=False)
PODS = Kind("", "v1", "Pod", "pods")
SERVICES = Kind("", "v1", "Service", "services")
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints")
CONFIGMAPS = Kind("", "v1", "ConfigMap", "configmaps")
SECRETS = Kind("", "v1", "Secret", "secrets")
SERVICEACCOUNTS = Kind("", "v1", "ServiceAccount", "serviceaccounts")
EVENTS = Kind("", "v1", "Event", "events")
DEPLOYMENTS = Kind("apps", "v1", "Deployment", "deployments")
REPLICASETS = Kind("apps", "v1", "ReplicaSet", "replicasets")
DAEMONSETS = Kind("apps", "v1", "DaemonSet", "daemonsets")
STATEFULSETS = Kind("apps", "v1", "StatefulSet", "statefulsets")
CONTROLLERREVISIONS = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
JOBS = Kind("batch", "v1", "Job", "jobs")
CRONJOBS = Kind("batch", "v1", "CronJob", "cronjobs")
REPLICATIONCONTROLLERS = Kind("", "v1", "ReplicationController", "replicationcontrollers")
PODDISRUPTIONBUDGETS = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
HORIZONTALPODAUTOSCALERS = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
PERSISTENTVOLUMES = Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)
PERSISTENTVOLUMECLAIMS = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
STORAGECLASSES = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False)
ENDPOINTSLICES = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
NETWORKPOLICIES = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
INGRESSES = Kind("networking.k8s.io", "v1", "Ingress", "ingresses")
INGRESSCLASSES = Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", namespaced=False)
LEASES = Kind("coordination.k8s.io", "v1", "Lease", "leases")
TOKENREVIEWS = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False)
SUBJECTACCESSREVIEWS = Kind(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False
)
CLUSTERROLES = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTERROLEBINDINGS = Kind(
    "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False
)
ROLES = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLEBINDINGS = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
CRDS = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
MUTATINGWEBHOOKS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)
VALIDATINGWEBHOOKS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
)
VIRTUALSERVICES = Kind("networking.istio.io", "v1", "VirtualService", "virtualservices")
SIDECARS = Kind("networking.istio.io", "v1", "Sidecar", "sidecars")
DESTINATIONRULES = Kind("networking.istio.io", "v1", "DestinationRule", "destinationrules")
PROXYCONFIGS = Kind("networking.istio.io", "v1beta1", "ProxyConfig", "proxyconfigs")
GATEWAYS = Kind("networking.istio.io", "v1", "Gateway", "gateways")
SERVICEENTRIES = Kind("networking.istio.io", "v1", "ServiceEntry", "serviceentries")
WORKLOADENTRIES = Kind("networking.istio.io", "v1", "WorkloadEntry", "workloadentries")
WORKLOADGROUPS = Kind("networking.istio.io", "v1", "WorkloadGroup", "workloadgroups")
AUTHORIZATIONPOLICIES = Kind("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies")
REQUESTAUTHENTICATIONS = Kind("security.istio.io", "v1", "RequestAuthentication", "requestauthentications")
ENVOYFILTERS = Kind("networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters")
PEERAUTHENTICATIONS = Kind("security.istio.io", "v1", "PeerAuthentication", "peerauthentications")

CERTIFICATESIGNINGREQUESTS = Kind(
    "certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", namespaced=False
)

SPIDERIPPOOLS = Kind("spiderpool.spidernet.io", "v2beta1", "SpiderIPPool", "spiderippools", namespaced=False)
SPIDERSUBNETS = Kind("spiderpool.spidernet.io", "v2beta1", "SpiderSubnet", "spidersubnets", namespaced=False)
SPIDERRESERVEDIPS = Kind(
    "spiderpool.spidernet.io", "v2beta1", "SpiderReservedIP", "spiderreservedips", namespaced=False
)
SPIDERENDPOINTS = Kind("spiderpool.spidernet.io", "v2beta1", "SpiderEndpoint", "spiderendpoints")
SPIDERMULTUSCONFIGS = Kind("spiderpool.spidernet.io", "v2beta1", "SpiderMultusConfig", "spidermultusconfigs")
SPIDERCOORDINATORS = Kind(
    "spiderpool.spidernet.io", "v2beta1", "SpiderCoordinator", "spidercoordinators", namespaced=False
)
NETWORKATTACHMENTS = Kind("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition", "network-attachment-definitions")

_BY_KIND = {
    (value.api_version, value.kind): value for value in list(globals().values()) if isinstance(value, Kind)
}
ISTIO = {kind.kind: kind for kind in _BY_KIND.values() if kind.group.endswith(".istio.io")}
"""Istio's kinds, by name."""


def kind_of(obj: dict[str, object]) -> Kind:
    """The kind of an object as it names itself; KeyError for kinds that Weft does not speak of."""
    return _BY_KIND[str(obj.get("apiVersion")), str(obj.get("kind"))]
