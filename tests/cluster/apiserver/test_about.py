"""What the server says of itself: health, version, metrics."""

import pytest
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, PODS


async def test_health_is_told_in_one_word_or_check_by_check(kubectl: Kubectl) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping"):
        assert (await kubectl("get", "--raw", path)).out == "ok"
    told = (await kubectl("get", "--raw", "/readyz?verbose&exclude=store")).out
    assert told == "[+]ping ok\n[+]store excluded: ok\n[+]bootstrap ok\nreadyz check passed\n"
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
