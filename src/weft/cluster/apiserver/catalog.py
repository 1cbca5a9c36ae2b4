"""The built-in kinds, as a table: what discovery lists and which paths the server serves."""

# ruff: noqa: E501 - a table is read by its columns

from weft.cluster.apiserver.kinds import ALL_VERBS, Kind

# group version | Kind plural | short names | categories | scope | subresources
_TABLE = """
- v1 | Binding bindings | - | - | Namespaced | - | create
- v1 | ConfigMap configmaps | cm | - | Namespaced | -
- v1 | Endpoints endpoints | ep | - | Namespaced | -
- v1 | Event events | ev | - | Namespaced | -
- v1 | LimitRange limitranges | limits | - | Namespaced | -
- v1 | Namespace namespaces | ns | - | Cluster | status,finalize
- v1 | Node nodes | no | - | Cluster | status,proxy
- v1 | PersistentVolumeClaim persistentvolumeclaims | pvc | - | Namespaced | status
- v1 | PersistentVolume persistentvolumes | pv | - | Cluster | status
- v1 | Pod pods | po | all | Namespaced | status,log,exec,attach,portforward,binding,eviction,ephemeralcontainers,resize,proxy
- v1 | PodTemplate podtemplates | - | - | Namespaced | -
- v1 | ReplicationController replicationcontrollers | rc | all | Namespaced | status,scale
- v1 | ResourceQuota resourcequotas | quota | - | Namespaced | status
- v1 | Secret secrets | - | - | Namespaced | -
- v1 | ServiceAccount serviceaccounts | sa | - | Namespaced | token
- v1 | Service services | svc | all | Namespaced | status,proxy
admissionregistration.k8s.io v1 | MutatingWebhookConfiguration mutatingwebhookconfigurations | - | api-extensions | Cluster | -
admissionregistration.k8s.io v1 | ValidatingWebhookConfiguration validatingwebhookconfigurations | - | api-extensions | Cluster | -
admissionregistration.k8s.io v1 | MutatingAdmissionPolicy mutatingadmissionpolicies | - | api-extensions | Cluster | -
admissionregistration.k8s.io v1 | MutatingAdmissionPolicyBinding mutatingadmissionpolicybindings | - | api-extensions | Cluster | -
admissionregistration.k8s.io v1 | ValidatingAdmissionPolicy validatingadmissionpolicies | - | api-extensions | Cluster | status
admissionregistration.k8s.io v1 | ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings | - | api-extensions | Cluster | -
apiextensions.k8s.io v1 | CustomResourceDefinition customresourcedefinitions | crd,crds | api-extensions | Cluster | status
apiregistration.k8s.io v1 | APIService apiservices | - | api-extensions | Cluster | status
apps v1 | ControllerRevision controllerrevisions | - | - | Namespaced | -
apps v1 | DaemonSet daemonsets | ds | all | Namespaced | status
apps v1 | Deployment deployments | deploy | all | Namespaced | status,scale
apps v1 | ReplicaSet replicasets | rs | all | Namespaced | status,scale
apps v1 | StatefulSet statefulsets | sts | all | Namespaced | status,scale
authentication.k8s.io v1 | SelfSubjectReview selfsubjectreviews | - | - | Cluster | - | create
authentication.k8s.io v1 | TokenReview tokenreviews | - | - | Cluster | - | create
authorization.k8s.io v1 | LocalSubjectAccessReview localsubjectaccessreviews | - | - | Namespaced | - | create
authorization.k8s.io v1 | SelfSubjectAccessReview selfsubjectaccessreviews | - | - | Cluster | - | create
authorization.k8s.io v1 | SelfSubjectRulesReview selfsubjectrulesreviews | - | - | Cluster | - | create
authorization.k8s.io v1 | SubjectAccessReview subjectaccessreviews | - | - | Cluster | - | create
autoscaling v2 | HorizontalPodAutoscaler horizontalpodautoscalers | hpa | all | Namespaced | status
autoscaling v1 | HorizontalPodAutoscaler horizontalpodautoscalers | hpa | all | Namespaced | status
batch v1 | CronJob cronjobs | cj | all | Namespaced | status
batch v1 | Job jobs | - | all | Namespaced | status
certificates.k8s.io v1 | CertificateSigningRequest certificatesigningrequests | csr | - | Cluster | status,approval
coordination.k8s.io v1 | Lease leases | - | - | Namespaced | -
discovery.k8s.io v1 | EndpointSlice endpointslices | - | - | Namespaced | -
events.k8s.io v1 | Event events | ev | - | Namespaced | -
flowcontrol.apiserver.k8s.io v1 | FlowSchema flowschemas | - | - | Cluster | status
flowcontrol.apiserver.k8s.io v1 | PriorityLevelConfiguration prioritylevelconfigurations | - | - | Cluster | status
metrics.k8s.io v1beta1 | NodeMetrics nodes | - | - | Cluster | - | get,list
metrics.k8s.io v1beta1 | PodMetrics pods | - | - | Namespaced | - | get,list
networking.k8s.io v1 | Ingress ingresses | ing | - | Namespaced | status
networking.k8s.io v1 | IngressClass ingressclasses | - | - | Cluster | -
networking.k8s.io v1 | IPAddress ipaddresses | ip | - | Cluster | -
networking.k8s.io v1 | NetworkPolicy networkpolicies | netpol | - | Namespaced | -
networking.k8s.io v1 | ServiceCIDR servicecidrs | - | - | Cluster | status
node.k8s.io v1 | RuntimeClass runtimeclasses | - | - | Cluster | -
policy v1 | PodDisruptionBudget poddisruptionbudgets | pdb | - | Namespaced | status
rbac.authorization.k8s.io v1 | ClusterRoleBinding clusterrolebindings | - | - | Cluster | -
rbac.authorization.k8s.io v1 | ClusterRole clusterroles | - | - | Cluster | -
rbac.authorization.k8s.io v1 | RoleBinding rolebindings | - | - | Namespaced | -
rbac.authorization.k8s.io v1 | Role roles | - | - | Namespaced | -
resource.k8s.io v1 | DeviceClass deviceclasses | - | - | Cluster | -
resource.k8s.io v1 | ResourceClaim resourceclaims | - | - | Namespaced | status
resource.k8s.io v1 | ResourceClaimTemplate resourceclaimtemplates | - | - | Namespaced | -
resource.k8s.io v1 | ResourceSlice resourceslices | - | - | Cluster | -
scheduling.k8s.io v1 | PriorityClass priorityclasses | pc | - | Cluster | -
storage.k8s.io v1 | CSIDriver csidrivers | - | - | Cluster | -
storage.k8s.io v1 | CSINode csinodes | - | - | Cluster | -
storage.k8s.io v1 | CSIStorageCapacity csistoragecapacities | - | - | Namespaced | -
storage.k8s.io v1 | StorageClass storageclasses | sc | - | Cluster | -
storage.k8s.io v1 | VolumeAttachment volumeattachments | - | - | Cluster | status
storage.k8s.io v1 | VolumeAttributesClass volumeattributesclasses | vac | - | Cluster | -
"""


def _names(cell: str) -> tuple[str, ...]:
    return () if cell == "-" else tuple(cell.split(","))


def _kind(line: str) -> Kind:
    cells = [cell.strip() for cell in line.split("|")]
    group, version = cells[0].split()
    kind, plural = cells[1].split()
    return Kind(
        group="" if group == "-" else group,
        version=version,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        short_names=_names(cells[2]),
        categories=_names(cells[3]),
        namespaced=cells[4] == "Namespaced",
        subresources=_names(cells[5]),
        verbs=_names(cells[6]) if len(cells) > 6 else ALL_VERBS,
    )


BUILT_IN: tuple[Kind, ...] = tuple(_kind(line) for line in _TABLE.strip().splitlines())
"""Every kind that is there without a CustomResourceDefinition, in discovery's order."""
