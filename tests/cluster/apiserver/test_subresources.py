"""What is below an object: only its own part changes, and only as Kubernetes allows."""

from typing import Any

import pytest
import yaml
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import DEPLOYMENTS, NODES, PODS, SERVICEACCOUNTS

HERE = "default"
POD = PODS.path(HERE, "p")


@pytest.fixture
async def pod(kube: Kube) -> dict[str, Any]:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}
    containers = [{"name": "c", "image": "x:1", "resources": resources}]
    return await kube.create(
        PODS, {"metadata": {"name": "p", "namespace": HERE}, "spec": {"containers": containers}}
    )


async def patch(kube: Kube, below: str, spec: dict[str, Any]) -> dict[str, Any]:
    return await kube.patch(PODS, "p", {"spec": spec}, HERE, subresource=below)


async def test_debugging_containers_are_added_and_never_changed(kube: Kube, pod: dict[str, Any]) -> None:
    one = {"name": "d", "image": "busybox", "targetContainerName": "c"}
    made = await patch(kube, "ephemeralcontainers", {"ephemeralContainers": [one], "nodeName": "elsewhere"})
    assert made["spec"]["ephemeralContainers"][0]["imagePullPolicy"] == "Always"
    assert "nodeName" not in made["spec"]
    for given, why in (
        ([{**one, "image": "other"}], 'existing ephemeral containers "d" may not be changed'),
        ([], 'existing ephemeral containers "d" may not be removed'),
        ([one, {"name": "c", "image": "x"}], 'spec.ephemeralContainers[1].name: Duplicate value: "c"'),
        (
            [one, {"name": "e", "image": "x", "targetContainerName": "z"}],
            'spec.ephemeralContainers[1].targetContainerName: Not found: "z"',
        ),
        (
            [one, {"name": "e", "image": "x", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}],
            "spec.ephemeralContainers[1].lifecycle: Forbidden: cannot be set for an Ephemeral Container",
        ),
    ):
        with pytest.raises(ApiError) as refused:
            await patch(kube, "ephemeralcontainers", {"ephemeralContainers": given})
        assert refused.value.code == 422
        assert why in str(refused.value)


async def test_kubectl_debug_adds_a_container_beside_one(kubectl: Kubectl, pod: dict[str, Any]) -> None:
    await kubectl("debug", "p", "--image=busybox", "--target=c", "-c", "tools", "--attach=false")
    found = yaml.safe_load((await kubectl("get", "pod", "p", "-o", "yaml")).out)
    assert [one["name"] for one in found["spec"]["ephemeralContainers"]] == ["tools"]


async def test_a_resize_changes_resources_and_nothing_else(
    kubectl: Kubectl, kube: Kube, pod: dict[str, Any]
) -> None:
    change = '{"spec":{"containers":[{"name":"c","image":"other","resources":{"requests":{"cpu":"150m"}}}]}}'
    await kubectl("patch", "pod", "p", "--subresource=resize", "-p", change)
    (container,) = (await kube.get(PODS, "p", HERE))["spec"]["containers"]
    assert container["image"] == "x:1"
    assert container["resources"] == {"requests": {"cpu": "150m"}, "limits": {"cpu": "200m"}}

    def args(resources: str) -> list[str]:
        body = f'{{"spec":{{"containers":[{{"name":"c","resources":{resources}}}]}}}}'
        return ["patch", "pod", "p", "--subresource=resize", "-p", body]

    refused = await kubectl(
        *args('{"requests":{"cpu":"200m","memory":"1Gi"},"limits":{"memory":"1Gi"}}'), ok=False
    )
    said = 'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'
    assert f'The Pod "p" is invalid: {said}' in refused.err
    refused = await kubectl(*args('{"limits":{"cpu":null}}'), ok=False)
    assert "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed" in refused.err
    refused = await kubectl(*args('{"requests":{"ephemeral-storage":"1Gi"}}'), ok=False)
    assert "only cpu and memory resources are mutable" in refused.err


async def test_a_scale_tells_its_selector_and_refuses_less_than_nothing(kube: Kube, kubectl: Kubectl) -> None:
    terms = [
        {"key": "tier", "operator": "In", "values": ["b", "a"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    labels = {"app": "x", "tier": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    spec = {"selector": {"matchLabels": {"app": "x"}, "matchExpressions": terms}, "template": template}
    await kube.create(DEPLOYMENTS, {"metadata": {"name": "d", "namespace": HERE}, "spec": spec})
    path = DEPLOYMENTS.path(HERE, "d", "scale")
    assert (await kube.call("GET", path))["status"]["selector"] == "app=x,!old,tier in (a,b)"
    refused = await kubectl(
        "patch", "deploy", "d", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":-1}}', ok=False
    )
    assert 'The Scale "d" is invalid: spec.replicas: Invalid value: -1: must be greater than' in refused.err
    await kubectl("scale", "deploy", "d", "--replicas=3", "--current-replicas=1")
    assert (await kube.get(DEPLOYMENTS, "d", HERE))["spec"]["replicas"] == 3


async def test_status_and_the_rest_do_not_touch_each_other(kube: Kube) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = await kube.create(DEPLOYMENTS, {"metadata": {"name": "d", "namespace": HERE}, "spec": spec})
    both = {"spec": {**made["spec"], "replicas": 5}, "status": {"replicas": 4}}
    status = await kube.replace(DEPLOYMENTS, {**made, **both}, subresource="status")
    assert (status["spec"]["replicas"], status["status"]["replicas"]) == (1, 4)
    both["status"] = {"replicas": 9}
    main = await kube.replace(DEPLOYMENTS, {**status, **both})
    assert (main["spec"]["replicas"], main["status"]["replicas"]) == (5, 4)


async def test_a_pod_is_bound_once(kube: Kube, pod: dict[str, Any]) -> None:
    path = PODS.path(HERE, "p", "binding")
    with pytest.raises(ApiError, match=r"target\.name: Required value"):
        await kube.post(path, {"target": {}})
    with pytest.raises(
        ApiError, match='Operation cannot be fulfilled on pods/binding "p": Precondition failed: UID'
    ):
        await kube.post(path, {"metadata": {"uid": "other"}, "target": {"name": "n"}})
    await kube.post(path, {"metadata": {"name": "p", "annotations": {"by": "me"}}, "target": {"name": "n"}})
    found = await kube.get(PODS, "p", HERE)
    assert (found["spec"]["nodeName"], found["metadata"]["annotations"]["by"]) == ("n", "me")
    with pytest.raises(ApiError, match='pods/binding "p": pod p is already assigned to node "n"') as refused:
        await kube.post(path, {"target": {"name": "m"}})
    assert refused.value.code == 409


async def test_what_a_resource_does_not_do_is_405(kube: Kube, kubectl: Kubectl) -> None:
    with pytest.raises(
        ApiError, match="the server does not allow this method on the requested resource"
    ) as refused:
        await kube.call("POST", PODS.path(HERE, "p"), body={})
    assert refused.value.code == 405


async def test_a_node_has_a_spec_however_it_came(kube: Kube) -> None:
    assert (await kube.create(NODES, {"metadata": {"name": "n"}}))["spec"] == {}
