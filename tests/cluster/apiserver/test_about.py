"""What the server says of itself: health, version, metrics."""

import json

import jwt
import pytest
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, PODS, SERVICEACCOUNTS


async def test_health_is_told_in_one_word_or_check_by_check(kubectl: Kubectl) -> None:
    hook = "/livez/poststarthook/rbac/bootstrap-roles"
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping", "/healthz/etcd", hook):
        assert (await kubectl("get", "--raw", path)).out == "ok"
    told = (await kubectl("get", "--raw", "/readyz?verbose&exclude=etcd")).out.splitlines()
    assert told[:2] == ["[+]ping ok", "[+]etcd excluded: ok"]
    assert told[-1] == "readyz check passed"
    assert (await kubectl("get", "--raw", "/livez/nothing", ok=False)).code != 0


async def test_requests_are_counted_and_timed_under_kubernetes_names(kube: Kube) -> None:
    await kube.create(CONFIGMAPS, {"metadata": {"name": "c", "namespace": "default"}})
    with pytest.raises(ApiError):
        await kube.get(PODS, "nobody", "default")
    text = (await kube.fetch("/metrics")).decode()
    made = (
        'component="apiserver",group="",resource="configmaps",scope="namespace",subresource="",'
        'verb="POST",version="v1"'
    )
    assert f'apiserver_request_total{{code="201",{made}}} 1' in text
    assert f"apiserver_request_duration_seconds_count{{{made}}} 1" in text
    assert f'apiserver_request_duration_seconds_bucket{{{made},le="+Inf"}} 1' in text
    assert 'apiserver_request_total{code="404",component="apiserver",group="",resource="pods"' in text
    assert 'apiserver_storage_objects{resource="configmaps"} 1' in text


async def test_the_openapi_of_all_kinds_is_swagger_where_json_is_asked_for(kube: Kube) -> None:
    document = await kube.call("GET", "/openapi/v2")
    assert document["swagger"] == "2.0"
    pods = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]
    assert pods["get"]["x-kubernetes-group-version-kind"]["kind"] == "Pod"
    where = {"name": "namespace", "in": "path", "type": "string", "uniqueItems": True, "required": True}
    assert where in pods["parameters"]
    spec = document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"]
    assert spec["$ref"] == "#/definitions/io.k8s.api.core.v1.PodSpec"


async def test_tokens_can_be_checked_with_the_published_key(kube: Kube, kubectl: Kubectl) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "bot", "namespace": "default"}})
    token = (await kubectl("create", "token", "bot", "--audience=them")).out.strip()
    told = json.loads((await kubectl("get", "--raw", "/.well-known/openid-configuration")).out)
    keys = jwt.PyJWKSet.from_dict(json.loads((await kubectl("get", "--raw", "/openid/v1/jwks")).out))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    algorithms = told["id_token_signing_alg_values_supported"]
    claims = jwt.decode(token, key, algorithms=algorithms, audience="them", issuer=told["issuer"])
    assert claims["sub"] == "system:serviceaccount:default:bot"


async def test_the_root_lists_what_can_be_asked_for(kubectl: Kubectl) -> None:
    paths = json.loads((await kubectl("get", "--raw", "/")).out)["paths"]
    assert {"/api/v1", "/apis/apps/v1", "/metrics", "/openapi/v3", "/readyz/ping"} <= set(paths)
