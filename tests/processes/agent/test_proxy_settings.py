"""What a pod's settings make of its Envoy, asked of Envoy itself; and its DNS."""

import asyncio
import gzip
import json
import urllib.request
from typing import Any

from tests.processes.agent.conftest import Pod
from tests.processes.agent.istiod import Istiod, eventually, new_authority

from weft.adapters.dns import client, messages
from weft.model.name_table import Named
from weft.pki import authority, pem

OTHER = new_authority()
SETTINGS: dict[str, Any] = {
    "concurrency": 3,
    "drainDuration": "7s",
    "terminationDrainDuration": "1s",
    "serviceCluster": "my-cluster",
    "meshId": "my-mesh",
    "fileFlushInterval": "250ms",
    "fileFlushMinSizeKb": 8,
    "runtimeValues": {"weft.on": "true", "weft.share": "25", "re2.max_program_size.error_level": ""},
    "proxyStatsMatcher": {
        "inclusionPrefixes": ["main_thread"],
        "inclusionSuffixes": ["cx_total"],
        "inclusionRegexps": ["^http\\.admin\\..*_rq_[0-9]xx$"],
    },
    "extraStatTags": ["shop"],
    "caCertificatesPem": [pem.certificates(OTHER.roots)],
}
ANNOTATIONS = """
sidecar.istio.io/statsFlushInterval="2s"
sidecar.istio.io/statsHistogramBuckets="{\\"http\\": [5, 50]}"
"""


async def admin(pod: Pod, path: str) -> Any:
    return json.loads((await pod.get("admin", path)).body)


async def start(pod: Pod, istiod: Istiod) -> None:
    pod.environment["PROXY_CONFIG"] = json.dumps(SETTINGS)
    (pod.home / "pod" / "annotations").write_text(ANNOTATIONS)
    pod.start(istiod.address)
    await eventually(pod.ready)


async def test_envoy_runs_as_the_settings_say(pod: Pod, istiod: Istiod) -> None:
    await start(pod, istiod)
    info = await admin(pod, "/server_info")
    options = info["command_line_options"]
    assert (options["concurrency"], options["drain_time"]) == (3, "7s")
    assert options["file_flush_interval"] == "0.250s"
    command = pod.envoys_command  # Envoy itself does not tell of this one
    assert command[command.index("--file-flush-min-size-kb") + 1] == "8"
    assert info["node"]["cluster"] == "my-cluster"

    entries = (await admin(pod, "/runtime"))["entries"]
    assert {name: one["final_value"] for name, one in entries.items()} == {"weft.on": "true", "weft.share": "25"}

    stats = {line.partition(":")[0] for line in (await pod.get("admin", "/stats")).body.decode().splitlines()}
    assert {"http.admin.downstream_rq_2xx", "http.admin.downstream_cx_total"} <= stats
    assert "http.admin.downstream_rq_total" not in stats, "nobody asked for it"

    bootstrap = (await admin(pod, "/config_dump?resource=&mask=bootstrap"))["configs"][0]["bootstrap"]
    assert bootstrap["stats_flush_interval"] == "2s"
    assert bootstrap["stats_config"]["histogram_bucket_settings"] == [
        {"match": {"prefix": "http"}, "buckets": [5, 50]}
    ]
    assert {"tag_name": "shop", "regex": "(shop\\.=\\.(.*?);\\.)"} in bootstrap["stats_config"]["stats_tags"]


async def test_roots_of_the_pods_own_are_trusted_beside_istiods(
    pod: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    await start(pod, istiod)

    async def trusted() -> set[str]:
        found = (await admin(pod, "/certs"))["certificates"]
        return {one["serial_number"] for each in found for one in each["ca_cert"]}

    def serial(one: authority.Authority) -> str:
        return f"{one.roots[0].serial_number:x}"

    async def both() -> bool:
        return {number.lstrip("0") for number in await trusted()} == {serial(signer), serial(OTHER)}

    await eventually(both)


def fetched(url: str) -> tuple[bytes, str]:
    asked = urllib.request.Request(url, headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        return answer.read(), answer.headers["content-encoding"]


async def test_metrics_are_compressed_for_who_takes_that(pod: Pod, istiod: Istiod) -> None:
    await start(pod, istiod)
    url = f"http://127.0.0.1:{pod.ports['metrics']}/stats/prometheus"
    compressed, encoding = await asyncio.to_thread(fetched, url)
    assert encoding == "gzip"
    assert b"envoy_server_live" in gzip.decompress(compressed)
    plain = await pod.get("metrics", "/stats/prometheus")
    assert b"envoy_server_live" in plain.body


async def test_a_bootstrap_of_the_users_own_is_laid_over_envoys(pod: Pod, istiod: Istiod) -> None:
    override = pod.home / "custom_bootstrap.json"
    override.write_text(json.dumps({"stats_flush_interval": "11s"}))
    pod.environment["ISTIO_BOOTSTRAP_OVERRIDE"] = str(override)
    pod.start(istiod.address)
    await eventually(pod.ready)
    bootstrap = (await admin(pod, "/config_dump?mask=bootstrap"))["configs"][0]["bootstrap"]
    assert bootstrap["stats_flush_interval"] == "11s"
    assert bootstrap["admin"], "the rest stays"


async def test_configuration_can_come_from_another_istiod_than_certificates(
    pod: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    other = Istiod(signer, pod.listener, "from the other")
    await other.start()
    try:
        pod.environment["PROXY_CONFIG"] = json.dumps({**SETTINGS, "discoveryAddress": other.address})
        pod.start(istiod.address)
        await eventually(pod.ready)
        assert len(istiod.issued) == 1
        assert other.issued == []
    finally:
        await other.stop()


async def asked(pod: Pod, name: str) -> tuple[str, tuple[str, ...]]:
    return messages.outcome(await client.ask_udp(("127.0.0.1", pod.ports["dns"]), messages.ask(name, "A")))


async def test_a_pod_is_ready_once_it_has_names_and_keeps_them_without_istiod(pod: Pod, istiod: Istiod) -> None:
    istiod.names = (Named("api.example.com", ("240.240.0.1",)),)
    pod.environment["ISTIO_META_DNS_CAPTURE"] = "true"
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert await asked(pod, "api.example.com") == ("NOERROR", ("240.240.0.1",))
    assert istiod.nacks == []

    port = int(istiod.address.rpartition(":")[2])
    await istiod.stop()
    assert await asked(pod, "api.example.com") == ("NOERROR", ("240.240.0.1",))

    again = Istiod(istiod.signer, pod.listener, "hello")
    again.names = (Named("api.example.com", ("240.240.0.2",)),)
    await again.start(port)
    try:

        async def renewed() -> bool:
            return await asked(pod, "api.example.com") == ("NOERROR", ("240.240.0.2",))

        await eventually(renewed)
        assert again.known == [{"all": "1"}], "the agent says what it has"
    finally:
        await again.stop()


async def test_without_capture_there_is_no_dns_server(running: Pod) -> None:
    try:
        await client.ask_udp(("127.0.0.1", running.ports["dns"]), messages.ask("api.example.com", "A"))
    except OSError:
        return
    raise AssertionError("something answers")
