"""Kinds that nothing here acts on: kept and shown as kubectl shows them anywhere."""

from tests.cluster.apiserver.servers import Kubectl

CLAIM = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: gpu, namespace: default}
spec: {devices: {requests: [{name: one, exactly: {deviceClassName: gpu.example.com}}]}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.wardle.example.com}
spec:
  group: wardle.example.com
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 15
  service: {name: api, namespace: wardle}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: fast}
driverName: csi.example.com
"""


async def test_they_are_listed_with_their_own_columns(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=CLAIM)
    expected = {
        "servicecidrs": ["NAME CIDRS AGE", "kubernetes 10.96.0.0/12"],
        "resourceclaims": ["NAME STATE AGE", "gpu pending"],
        "apiservices": ["NAME SERVICE AVAILABLE AGE", "v1. Local True"],
        "apiservices v1.wardle.example.com": [
            "NAME SERVICE AVAILABLE AGE",
            "v1.wardle.example.com wardle/api Unk",
        ],
        "vac": ["NAME DRIVERNAME AGE", "fast csi.example.com"],
    }
    for kind, (head, row) in expected.items():
        lines = (await kubectl("get", *kind.split())).out.splitlines()
        assert " ".join(lines[0].split()) == head
        assert " ".join(lines[1].split()).startswith(row)


async def test_all_kinds_of_a_real_server_are_known_to_kubectl(kubectl: Kubectl) -> None:
    listed = (await kubectl("api-resources", "-o", "name")).out.split()
    for name in (
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        "ipaddresses.networking.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceclaimtemplates.resource.k8s.io",
        "resourceslices.resource.k8s.io",
        "csistoragecapacities.storage.k8s.io",
    ):
        assert name in listed
        assert (await kubectl("get", name, "-A")).err.startswith("No resources found")
