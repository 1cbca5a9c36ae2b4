"""EnvoyFilters as people apply them: with kubectl, and seen by curl."""

from collections.abc import Iterator

import pytest
from tests.e2e.manifests import NGINX, TOOLBOX, service
from tests.support.cluster import Cluster, eventually

SCRIPT = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: script}
spec:
  workloadSelector: {labels: {app: toolbox}}
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: SIDECAR_OUTBOUND
        listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
      patch:
        operation: INSERT_FIRST
        value:
          name: scripted
          config_discovery:
            config_source: {ads: {}, resource_api_version: V3}
            type_urls: [type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua]
    - applyTo: EXTENSION_CONFIG
      patch:
        operation: ADD
        value:
          name: scripted
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
            default_source_code: {inline_string: "SOURCE"}
    - applyTo: BOOTSTRAP
      patch: {operation: MERGE, value: {stats_flush_interval: 7s}}
"""
SAYS = "function envoy_on_response(response) response:headers():add('x-script', 'ran') end"
SENTENCES = "curl -s -o /dev/null -D - nginx | tr -d '\\r'"
CODE = "curl -s -o /dev/null -w %{http_code} nginx"


@pytest.fixture(scope="module")
def filtered(cluster: Cluster) -> Iterator[Cluster]:
    cluster.injected("filters")
    cluster.apply("filters", NGINX, service("nginx", "nginx"), TOOLBOX)
    cluster.roll_out("filters", "nginx-deployment", "toolbox")
    yield cluster
    cluster.kubectl("delete", "ns", "filters", "--wait=false")


def status(cluster: Cluster) -> str:
    """The row of proxy-status of the client here; other namespaces may have one of the name."""
    rows = cluster.weft("proxy-status").stdout.splitlines()
    return next(row for row in rows if row.startswith("toolbox") and ".filters " in row)


def test_a_script_by_ecds_comes_and_goes_and_the_bootstrap_changes_with_the_next_pod(filtered: Cluster) -> None:
    filtered.apply("filters", SCRIPT.replace("SOURCE", SAYS))
    eventually(lambda: "x-script: ran" in filtered.shell("filters", "toolbox", SENTENCES))
    row = status(filtered)
    assert row.split()[2:7] == ["SYNCED"] * 5, row
    pod = filtered.pod("filters", "toolbox")
    filtered.kubectl("delete", "pod", "-n", "filters", pod, "--grace-period=1")
    filtered.roll_out("filters", "toolbox")
    written = "cat /etc/istio/proxy/envoy-rev.json"
    content = filtered.kubectl(
        "exec", "-n", "filters", "deploy/toolbox", "-c", "istio-proxy", "--", *written.split()
    )
    assert '"stats_flush_interval": "7s"' in content
    eventually(lambda: "x-script: ran" in filtered.shell("filters", "toolbox", SENTENCES))
    filtered.kubectl("delete", "envoyfilter", "-n", "filters", "script")
    eventually(lambda: "x-script" not in filtered.shell("filters", "toolbox", SENTENCES))


def test_what_envoy_rejects_is_held_back_and_requests_go_on(filtered: Cluster) -> None:
    inline = SCRIPT.replace("config_discovery", "typed_config").replace("SOURCE", SAYS)
    lines = inline.splitlines()
    start = next(number for number, line in enumerate(lines) if "config_source" in line)
    kind = '            "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua'
    lines[start : start + 2] = [kind, "            inline_code: this is no Lua"]
    filtered.apply("filters", "\n".join(lines))

    def told() -> bool:
        return "ERROR" in status(filtered)

    eventually(told)
    assert filtered.shell("filters", "toolbox", CODE) == "200"
    filtered.kubectl("delete", "envoyfilter", "-n", "filters", "script")
    eventually(lambda: not told())


def test_kubectl_refuses_what_does_not_fit_envoys_messages(filtered: Cluster) -> None:
    wrong = SCRIPT.replace("SOURCE", SAYS).replace("stats_flush_interval: 7s", "stats_flush_interval: 7m")
    done = filtered.try_kubectl("apply", "-n", "filters", "-f", "-", text=wrong)
    assert done.returncode != 0
    place = "spec.configPatches[2].patch.value.stats_flush_interval"
    assert (
        f'{place}: expected a duration in seconds, such as "0.25s", got "7m". Write it in seconds: "420s".'
        in done.stderr
    )
