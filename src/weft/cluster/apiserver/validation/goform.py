"""Objects as Kubernetes' own (internal) Go structs print them in messages.

Every field is there under its Go name, in the struct's order, with Go's zero values. A pod's host namespaces
stand in its security context there.
"""

# ruff: noqa: E501 - a table is read by its columns

from functools import cache
from typing import Any

from weft.cluster.apiserver.validation.rules import go_map

Obj = dict[str, Any]

# Struct: Field=zero … where zero is s (empty string), i (0), b (false), n (null), or n:Struct, [Struct], Struct (embedded
# by value) for what is below; `+Struct` stands for the fields of another struct
_TABLE = """
ServicePort: Name=s Protocol=s AppProtocol=n Port=i TargetPort=i NodePort=i
RoleRef: APIGroup=s Kind=s Name=s
DeploymentStrategy: Type=s RollingUpdate=n:RollingUpdate
StatefulSetUpdateStrategy: Type=s RollingUpdate=n:StatefulSetRollingUpdate
StatefulSetRollingUpdate: Partition=i MaxUnavailable=n
RollingUpdate: MaxUnavailable=i MaxSurge=i
PodDisruptionBudgetSpec: MinAvailable=n Selector=n MaxUnavailable=n UnhealthyPodEvictionPolicy=n
PodTemplateSpec: Spec=PodSpec
PodSpec: Volumes=[Volume] InitContainers=[Container] Containers=[Container] EphemeralContainers=[Container] RestartPolicy=s TerminationGracePeriodSeconds=n ActiveDeadlineSeconds=n DNSPolicy=s NodeSelector=n ServiceAccountName=s AutomountServiceAccountToken=n NodeName=s SecurityContext=n:PodSecurityContext ImagePullSecrets=[Local] Hostname=s Subdomain=s SetHostnameAsFQDN=n Affinity=n SchedulerName=s Tolerations=[Toleration] HostAliases=[HostAlias] PriorityClassName=s Priority=n PreemptionPolicy=n DNSConfig=n:DNSConfig ReadinessGates=[Gate] RuntimeClassName=n Overhead=n EnableServiceLinks=n TopologySpreadConstraints=[Spread] OS=n:Named SchedulingGates=[Named] ResourceClaims=n Resources=n HostnameOverride=n
PodSecurityContext: HostNetwork=b HostPID=b HostIPC=b ShareProcessNamespace=n HostUsers=n SELinuxOptions=n SELinuxChangePolicy=n WindowsOptions=n RunAsUser=n RunAsGroup=n RunAsNonRoot=n SupplementalGroups=n SupplementalGroupsPolicy=n FSGroup=n Sysctls=n FSGroupChangePolicy=n SeccompProfile=n:Profile AppArmorProfile=n:Profile
SecurityContext: Capabilities=n:Capabilities Privileged=n SELinuxOptions=n WindowsOptions=n RunAsUser=n RunAsGroup=n RunAsNonRoot=n ReadOnlyRootFilesystem=n AllowPrivilegeEscalation=n ProcMount=n SeccompProfile=n:Profile AppArmorProfile=n:Profile
Profile: Type=s LocalhostProfile=n
Capabilities: Add=n Drop=n
Local: Name=s
Named: Name=s
Gate: ConditionType=s
HostAlias: IP=s Hostnames=n
DNSConfig: Nameservers=n Searches=n Options=n
Toleration: Key=s Operator=s Value=s Effect=s TolerationSeconds=n
Spread: MaxSkew=i TopologyKey=s WhenUnsatisfiable=s LabelSelector=n MinDomains=n NodeAffinityPolicy=n NodeTaintsPolicy=n MatchLabelKeys=n
Container: Name=s Image=s Command=n Args=n WorkingDir=s Ports=[ContainerPort] EnvFrom=[EnvFrom] Env=[EnvVar] Resources=Resources ResizePolicy=n RestartPolicy=n RestartPolicyRules=n VolumeMounts=[VolumeMount] VolumeDevices=[VolumeDevice] LivenessProbe=n:Probe ReadinessProbe=n:Probe StartupProbe=n:Probe Lifecycle=n:Lifecycle TerminationMessagePath=s TerminationMessagePolicy=s ImagePullPolicy=s SecurityContext=n:SecurityContext Stdin=b StdinOnce=b TTY=b
ContainerPort: Name=s HostPort=i ContainerPort=i Protocol=s HostIP=s
EnvFrom: Prefix=s ConfigMapRef=n:Ref SecretRef=n:Ref
EnvVar: Name=s Value=s ValueFrom=n:EnvVarSource
EnvVarSource: FieldRef=n:FieldRef ResourceFieldRef=n:ResourceFieldRef ConfigMapKeyRef=n:KeyRef SecretKeyRef=n:KeyRef FileKeyRef=n
FieldRef: APIVersion=s FieldPath=s
ResourceFieldRef: ContainerName=s Resource=s Divisor=s
Ref: Name=s Optional=n
KeyRef: Name=s Key=s Optional=n
Resources: Limits=n Requests=n Claims=n
VolumeMount: Name=s ReadOnly=b RecursiveReadOnly=n MountPath=s SubPath=s MountPropagation=n SubPathExpr=s
VolumeDevice: Name=s DevicePath=s
Probe: +Handler InitialDelaySeconds=i TimeoutSeconds=i PeriodSeconds=i SuccessThreshold=i FailureThreshold=i TerminationGracePeriodSeconds=n
Handler: Exec=n:Exec HTTPGet=n:HTTPGet TCPSocket=n:TCPSocket GRPC=n:GRPC
Lifecycle: PostStart=n:Hook PreStop=n:Hook StopSignal=n
Hook: Exec=n:Exec HTTPGet=n:HTTPGet TCPSocket=n:TCPSocket Sleep=n:Sleep
Exec: Command=n
HTTPGet: Path=s Port=i Host=s Scheme=s HTTPHeaders=n
TCPSocket: Port=i Host=s
GRPC: Port=i Service=n
Sleep: Seconds=i
Volume: Name=s HostPath=n:HostPath EmptyDir=n:EmptyDir GCEPersistentDisk=n AWSElasticBlockStore=n GitRepo=n Secret=n:SecretVolume NFS=n:NFS ISCSI=n Glusterfs=n PersistentVolumeClaim=n:Claim RBD=n Quobyte=n FlexVolume=n Cinder=n CephFS=n Flocker=n DownwardAPI=n:DownwardAPI FC=n AzureFile=n ConfigMap=n:ConfigMapVolume VsphereVolume=n AzureDisk=n PhotonPersistentDisk=n Projected=n:Projected PortworxVolume=n ScaleIO=n StorageOS=n CSI=n Ephemeral=n Image=n
HostPath: Path=s Type=n
EmptyDir: Medium=s SizeLimit=n
SecretVolume: SecretName=s Items=[KeyToPath] DefaultMode=n Optional=n
ConfigMapVolume: Name=s Items=[KeyToPath] DefaultMode=n Optional=n
KeyToPath: Key=s Path=s Mode=n
NFS: Server=s Path=s ReadOnly=b
Claim: ClaimName=s ReadOnly=b
DownwardAPI: Items=[DownwardFile] DefaultMode=n
DownwardFile: Path=s FieldRef=n:FieldRef ResourceFieldRef=n:ResourceFieldRef Mode=n
Projected: Sources=[Source] DefaultMode=n
Source: Secret=n DownwardAPI=n ConfigMap=n ServiceAccountToken=n ClusterTrustBundle=n PodCertificate=n
"""
_ZEROS: dict[str, Any] = {"s": "", "i": 0, "b": False, "n": None}
_IN_SECURITY = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


@cache
def _structs() -> dict[str, tuple[tuple[str, str], ...]]:
    raw = {name: rest.split() for name, rest in (line.split(":", 1) for line in _TABLE.strip().splitlines())}

    def fields(name: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for item in raw[name]:
            if item.startswith("+"):
                found += fields(item[1:])
            else:
                field, _, zero = item.partition("=")
                found.append((field, zero))
        return found

    return {name: tuple(fields(name)) for name in raw}


def go(struct: str, given: Obj | None) -> Obj | None:
    """The object as the internal struct of that name."""
    if given is None:
        return None
    if struct == "PodTemplateSpec":
        metadata = {key: value for key, value in (given.get("metadata") or {}).items() if value}
        return {**_metadata(metadata), "Spec": go("PodSpec", given.get("spec") or {})}
    if struct == "PodSpec":
        host = {name: given[name] for name in _IN_SECURITY if name in given}
        given = {**given, "securityContext": {**host, **(given.get("securityContext") or {})}}
    known = {key.lower(): value for key, value in given.items()}
    return {name: _field(zero, known.get(name.lower())) for name, zero in _structs()[struct]}


def _metadata(given: Obj) -> Obj:
    order = ("name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers")
    return {
        name: go_map(given[name]) if isinstance(given[name], dict) else given[name]
        for name in order
        if name in given
    }


def _field(zero: str, value: Any) -> Any:
    if zero.startswith("["):
        return None if value is None else [go(zero[1:-1], item) for item in value]
    pointer, colon, below = zero.partition(":")
    if colon:
        return go(below, value)
    if pointer in _ZEROS:
        plain = dict(sorted(value.items())) if isinstance(value, dict) else value
        return _ZEROS[pointer] if value is None else plain
    return go(pointer, value or {})
