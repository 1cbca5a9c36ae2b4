"""The walkthrough's first steps, typed by the real kubectl."""

import asyncio
import json

import pytest
from tests.cluster.apiserver.servers import NEWEST, OLD, Home, Kubectl

from weft.cluster.apiserver.rest.server import Server

NGINX = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx-deployment
spec:
  replicas: 1
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
        - name: nginx
          image: nginx:1.25.3
---
apiVersion: v1
kind: Service
metadata:
  name: nginx
spec:
  ports:
    - name: http
      port: 80
      protocol: TCP
      targetPort: 80
  selector:
    app: nginx
"""
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      additionalPrinterColumns:
        - {name: Size, type: integer, jsonPath: .spec.size}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [size]
              properties:
                size: {type: integer, minimum: 1}
                color: {type: string, default: blue}
            status: {type: object, x-kubernetes-preserve-unknown-fields: true}
    - name: v1beta1
      served: true
      storage: false
      schema:
        openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""
WIDGET = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n"


@pytest.mark.parametrize("binary", [NEWEST, OLD], ids=["newest", "1.20"])
async def test_the_first_steps_of_the_walkthrough(server: Server, home: Home, binary: object) -> None:
    kubectl = Kubectl(home, NEWEST if binary == NEWEST else OLD)
    assert (await kubectl("create", "ns", "sidecar")).out == "namespace/sidecar created\n"
    await kubectl("label", "ns", "sidecar", "istio-injection=enabled")
    assert "istio-injection=enabled" in (await kubectl("get", "ns", "sidecar", "--show-labels")).out
    created = await kubectl("apply", "-n", "sidecar", "-f", "-", stdin=NGINX)
    assert created.out == "deployment.apps/nginx-deployment created\nservice/nginx created\n"
    again = await kubectl("apply", "-n", "sidecar", "-f", "-", stdin=NGINX)
    assert again.out == "deployment.apps/nginx-deployment unchanged\nservice/nginx unchanged\n"
    changed = await kubectl("apply", "-n", "sidecar", "-f", "-", stdin=NGINX.replace("1.25.3", "1.26"))
    assert changed.out == "deployment.apps/nginx-deployment configured\nservice/nginx unchanged\n"
    image = "jsonpath={.spec.template.spec.containers[*].image} {.metadata.generation}"
    assert (await kubectl("get", "deploy", "-n", "sidecar", "nginx-deployment", "-o", image)).out == "nginx:1.26 2"
    await kubectl("scale", "-n", "sidecar", "deploy/nginx-deployment", "--replicas=3")
    assert "0/3" in (await kubectl("get", "deploy", "-n", "sidecar")).out
    described = await kubectl("describe", "svc", "nginx", "-n", "sidecar")
    assert "TargetPort:" in described.out
    gone = await kubectl("delete", "-n", "sidecar", "deploy/nginx-deployment", "svc/nginx")
    assert gone.out.count("deleted") == 2


async def test_a_mistake_is_refused_with_the_field_named(kubectl: Kubectl) -> None:
    unknown = await kubectl("apply", "-f", "-", stdin=NGINX.replace("replicas:", "replcas:"), ok=False)
    assert 'strict decoding error: unknown field "spec.replcas"' in unknown.err
    typed = await kubectl("apply", "-f", "-", stdin=NGINX.replace("replicas: 1", "replicas: x"), ok=False)
    assert "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" in typed.err
    apart = NGINX.replace("        app: nginx", "        app: nginy")
    labels = await kubectl("apply", "-f", "-", stdin=apart, ok=False)
    assert "`selector` does not match template `labels`" in labels.err
    name = await kubectl("create", "ns", "Big_Name", ok=False)
    assert 'The Namespace "Big_Name" is invalid: metadata.name: Invalid value: "Big_Name"' in name.err
    missing = await kubectl("get", "pods", "nope", ok=False)
    assert missing.err == 'Error from server (NotFound): pods "nope" not found\n'


async def test_server_side_apply_names_the_manager_it_conflicts_with(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", stdin=NGINX)
    await kubectl("scale", "deploy/nginx-deployment", "--replicas=4")
    refused = await kubectl("apply", "--server-side", "-f", "-", stdin=NGINX, ok=False)
    assert 'conflict with "kubectl" with subresource "scale"' in refused.err
    assert ".spec.replicas" in refused.err
    await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=NGINX)
    replicas = await kubectl("get", "deploy", "nginx-deployment", "-o", "jsonpath={.spec.replicas}")
    assert replicas.out == "1"


async def test_what_an_apply_no_longer_sets_goes(kubectl: Kubectl) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', b: '2'}\n"
    await kubectl("apply", "--server-side", "-f", "-", stdin=text)
    await kubectl("apply", "--server-side", "-f", "-", stdin=text.replace(", b: '2'", ""))
    assert json.loads((await kubectl("get", "cm", "c", "-o", "jsonpath={.data}")).out) == {"a": "1"}


async def test_a_definition_serves_its_kind_at_once(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=CRD)
    await kubectl("apply", "-f", "-", stdin=WIDGET)
    assert (await kubectl("get", "wd")).out.split() == ["NAME", "SIZE", "w", "3"]
    assert (await kubectl("get", "wd", "w", "-o", "jsonpath={.spec.color}")).out == "blue"
    older = await kubectl("get", "widgets.v1beta1.example.com", "w", "-o", "jsonpath={.apiVersion}")
    assert older.out == "example.com/v1beta1"
    wrong = await kubectl("apply", "-f", "-", stdin=WIDGET.replace("size: 3", "size: big"), ok=False)
    assert "spec.size in body must be of type integer" in wrong.err
    unknown = await kubectl("apply", "-f", "-", stdin=WIDGET.replace("size: 3", "size: 3, sise: 4"), ok=False)
    assert 'unknown field "spec.sise"' in unknown.err
    await kubectl("delete", "crd", "widgets.example.com", "--timeout=10s")
    assert "could not find the requested resource" in (await kubectl("get", "wd", ok=False)).err


async def test_a_watch_shows_what_happens(kubectl: Kubectl, home: Home) -> None:
    watching = asyncio.create_task(kubectl("get", "cm", "-w", "--request-timeout=3s", ok=False))
    await asyncio.sleep(1)
    await kubectl("create", "cm", "seen", "--from-literal=a=b")
    lines = (await watching).out.splitlines()
    assert any(line.startswith("seen ") for line in lines)


async def test_access_follows_the_roles(kubectl: Kubectl) -> None:
    assert (await kubectl("auth", "can-i", "create", "pods")).out == "yes\n"
    assert (await kubectl("auth", "can-i", "list", "pods", "--as=ada", ok=False)).out.startswith("no")
    await kubectl("create", "rolebinding", "r", "--clusterrole=view", "--user=ada")
    assert (await kubectl("auth", "can-i", "list", "pods", "--as=ada")).out == "yes\n"
    assert (await kubectl("auth", "can-i", "delete", "pods", "--as=ada", ok=False)).out.startswith("no")
