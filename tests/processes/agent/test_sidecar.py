import asyncio
import json
import os
import re
import signal
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from tests.processes.agent.conftest import Pod, free_ports
from tests.processes.agent.istiod import Istiod, eventually, new_authority

from weft.adapters import http, keys
from weft.pki import authority, identity, pem, request
from weft.pki.identity import SpiffeId


def client_tls(signer: authority.Authority, home: Path) -> ssl.SSLContext:
    """A caller with a certificate of the same mesh."""
    key = keys.new_key()
    leaf, *_ = authority.issue_workload(
        signer,
        request.sign(key),
        spiffe_id=SpiffeId("cluster.local", "shop", "caller"),
        lifetime=timedelta(hours=1),
        now=datetime.now(UTC),
        serial=keys.new_serial(),
    )
    (home / "client.pem").write_text(pem.certificates((leaf, *signer.chain)) + pem.key(key))
    context = ssl.create_default_context(cadata=pem.certificates(signer.roots))
    context.check_hostname = False
    context.load_cert_chain(home / "client.pem")
    return context


async def call(pod: Pod, signer: authority.Authority) -> str:
    target = http.Target("127.0.0.1", pod.listener, client_tls(signer, pod.home))
    return (await http.fetch(target, "GET", "/", timeout=5)).body.decode()


async def presented(pod: Pod, signer: authority.Authority) -> x509.Certificate:
    """The certificate that the proxy shows on its listener now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.listener, ssl=client_tls(signer, pod.home))
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    del reader
    return x509.load_der_x509_certificate(der)


def memory(pid: int) -> float:
    """Resident megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found
    return int(found[1]) / 1024


def age(pid: int) -> float:
    """Seconds since a process was started, in the resolution of the kernel's clock ticks (proc(5), stat 22)."""
    ticks = float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


async def test_a_sidecar_gets_a_certificate_and_a_listener_and_serves_mutual_tls(
    running: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    assert await call(running, signer) == "hello"
    shown = await presented(running, signer)
    assert identity.of_certificate(shown) == identity.SpiffeId("cluster.local", "sidecar", "default")
    assert pem.certificate(shown) == istiod.issued[0]
    assert istiod.asked[0].metadata["clusterid"] == "Kubernetes"
    assert istiod.nacks == []


async def test_the_key_never_touches_the_disk(running: Pod) -> None:
    files = [path for path in running.home.rglob("*") if path.is_file()]
    assert running.home / "proxy" / "envoy-rev.json" in files
    assert not [path for path in files if b"PRIVATE KEY" in path.read_bytes()]


async def test_a_client_without_a_certificate_is_refused(running: Pod, signer: authority.Authority) -> None:
    context = ssl.create_default_context(cadata=pem.certificates(signer.roots))
    context.check_hostname = False
    target = http.Target("127.0.0.1", running.listener, context)
    try:
        answer = await http.fetch(target, "GET", "/", timeout=5)
    except http.HttpError:
        return
    raise AssertionError(answer)


async def test_readiness_is_seen_through_envoy_too(running: Pod) -> None:
    answer = await running.get("readiness", "/healthz/ready")
    assert answer.status == 200


async def test_metrics_come_from_agent_and_envoy_together(running: Pod) -> None:
    merged = (await running.get("status", "/stats/prometheus")).body.decode()
    assert re.search(r'^istio_agent_cert_expiry_seconds\{resource_name="default"\} 8\d{4}$', merged, re.MULTILINE)
    assert "envoy_listener_manager_workers_started" in merged
    alone = (await running.get("metrics", "/stats/prometheus")).body.decode()
    assert "envoy_listener_manager_workers_started" in alone
    assert "istio_agent" not in alone


@pytest.mark.parametrize("way", ["/../../server_info", "/%2e%2e/%2e%2e/server_info", "%2f..%2f..%2fserver_info"])
async def test_from_the_metrics_port_no_way_leads_to_the_rest_of_envoys_own_interface(
    running: Pod, way: str
) -> None:
    answer = await running.get("metrics", f"/stats/prometheus{way}")
    assert b"LIVE" not in answer.body
    assert b"LIVE" not in (await running.get("readiness", f"/healthz/ready{way}")).body


async def test_the_sidecar_is_not_ready_without_a_control_plane_and_says_why(pod: Pod) -> None:
    pod.start("127.0.0.1:1")
    await eventually(lambda: "out of reach" in pod.log)
    answer = await eventually(lambda: _status(pod))
    assert answer.status == 503
    assert answer.body == b"the proxy waits for its clusters from istiod\n"
    # one line a cause, however often it is tried
    await asyncio.sleep(1)
    assert pod.log.count("no certificate yet") == 1


async def _status(pod: Pod) -> http.Response | None:
    try:
        answer = await pod.get("status", "/healthz/ready")
    except http.HttpError:
        return None
    return None if b"does not answer" in answer.body else answer


async def test_a_pod_that_starts_before_istiod_joins_when_it_comes(pod: Pod, signer: authority.Authority) -> None:
    late = Istiod(signer, pod.listener, "late")
    await late.start()
    await late.stop()
    pod.start(late.address)
    await eventually(lambda: "out of reach" in pod.log)
    again = Istiod(signer, pod.listener, "late")
    await again.start(int(late.address.rpartition(":")[2]))
    try:
        await eventually(pod.ready)
        assert await call(pod, signer) == "late"
    finally:
        await again.stop()


async def test_when_istiod_dies_the_proxy_serves_on_and_finds_the_next_one(
    running: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    port = int(istiod.address.rpartition(":")[2])
    await istiod.stop()
    assert await call(running, signer) == "hello"
    assert await running.ready()
    successor = Istiod(signer, running.listener, "hello again")
    await successor.start(port)
    try:
        await eventually(lambda: _says(running, signer, "hello again"))
    finally:
        await successor.stop()


async def _says(pod: Pod, signer: authority.Authority, text: str) -> bool:
    try:
        return await call(pod, signer) == text
    except http.HttpError:
        return False


async def test_a_killed_envoy_is_back_within_a_second(running: Pod, signer: authority.Authority) -> None:
    killed = running.envoy
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    await eventually(lambda: running.envoy not in {0, killed})
    assert time.monotonic() - began < 0.5
    await eventually(lambda: _says(running, signer, "hello"))
    assert time.monotonic() - began < 3
    merged = (await running.get("status", "/stats/prometheus")).body.decode()
    assert "weft_agent_envoy_restarts_total 1" in merged


async def test_a_new_root_reaches_envoy_without_a_restart(
    running: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    successor = new_authority()
    before = running.envoy
    assert not await trusted_by(running, signer, successor)
    (running.home / "root.pem").write_text(pem.certificates((*signer.roots, *successor.roots)))
    await eventually(lambda: trusted_by(running, signer, successor))
    assert running.envoy == before


async def trusted_by(pod: Pod, signer: authority.Authority, caller: authority.Authority, shown: str = "") -> bool:
    """Whether the proxy takes callers of another authority, or one that shows this chain and key."""
    context = client_tls(caller, pod.home)
    if shown:
        (pod.home / "shown.pem").write_text(shown)
        context.load_cert_chain(pod.home / "shown.pem")
    context.load_verify_locations(cadata=pem.certificates(signer.roots))
    try:
        answer = await http.fetch(http.Target("127.0.0.1", pod.listener, context), "GET", "/", timeout=5)
    except http.HttpError:
        return False
    return answer.status == 200


async def test_a_refused_token_is_one_line_with_the_way_out(pod: Pod, istiod: Istiod) -> None:
    (pod.home / "token").write_text("stolen")
    pod.start(istiod.address)
    await eventually(lambda: "refuses the token" in pod.log)
    line = next(line for line in pod.log.splitlines() if "refuses the token" in line)
    assert str(pod.home / "token") in line
    assert "no such token" in line
    assert "Delete the pod" in line
    # the token is read again for each attempt
    (pod.home / "token").write_text("the-pod's-token")
    await eventually(pod.ready)


async def test_missing_files_are_named(pod: Pod, istiod: Istiod) -> None:
    (pod.home / "root.pem").unlink()
    pod.start(istiod.address)
    await eventually(lambda: f"cannot read {pod.home / 'root.pem'}" in pod.log)
    assert "istio-ca-root-cert" in pod.log


async def test_an_istiod_of_another_authority_is_not_trusted(pod: Pod, istiod: Istiod) -> None:
    (pod.home / "root.pem").write_text(pem.certificates(new_authority().roots))
    pod.start(istiod.address)
    await eventually(lambda: "no certificate yet" in pod.log)
    assert str(pod.home / "root.pem") in pod.log
    assert istiod.asked == []


async def test_sigterm_drains_and_ends_with_zero(running: Pod, signer: authority.Authority) -> None:
    assert running.process is not None
    running.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    # new connections are served while the others of the cluster learn that the pod goes
    while time.monotonic() < began + 0.8:
        assert await call(running, signer) == "hello"
    assert (await running.get("status", "/healthz/ready")).status == 503
    assert await running.exit_code() == 0
    assert 1.0 <= time.monotonic() - began < 4.5


async def test_a_drain_until_idle_waits_for_the_last_connection(
    pod: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    pod.environment["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] = "true"
    pod.start(istiod.address)
    await eventually(pod.ready)
    _, writer = await asyncio.open_connection("127.0.0.1", pod.listener, ssl=client_tls(signer, pod.home))
    assert pod.process is not None
    pod.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(3)
    assert pod.process.poll() is None
    writer.close()
    await writer.wait_closed()
    assert await pod.exit_code() == 0


async def test_the_application_is_probed_and_scraped_through_the_agent(pod: Pod, istiod: Istiod) -> None:
    async def application(request: http.Request) -> http.Response:
        return http.Response(200, b"shop_orders_total 7\n") if request.path == "/m" else http.Response(418)

    [port] = free_ports(1)
    server = await http.serve("127.0.0.1", port, application)
    probe = {"/app-health/shop/readyz": {"httpGet": {"path": "/ok", "port": port}, "timeoutSeconds": 1}}
    pod.environment["ISTIO_KUBE_APP_PROBERS"] = json.dumps(probe)
    scrape = {"scrape": "true", "path": "/m", "port": str(port)}
    pod.environment["ISTIO_PROMETHEUS_ANNOTATIONS"] = json.dumps(scrape)
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert (await pod.get("status", "/app-health/shop/readyz")).status == 418
    assert (await pod.get("status", "/app-health/shop/livez")).status == 404
    assert b"shop_orders_total 7\n" in (await pod.get("status", "/stats/prometheus")).body
    server.close()
    await server.wait_closed()


async def test_quitquitquit_ends_the_sidecar(running: Pod) -> None:
    assert (await running.get("status", "/quitquitquit")).status == 405
    assert (await running.get("status", "/quitquitquit", "POST")).status == 200
    assert await running.exit_code() == 0


async def test_an_envoy_that_cannot_start_ends_the_agent_with_its_exit_code(pod: Pod, istiod: Istiod) -> None:
    pod.start(istiod.address, "--proxyLogLevel=nonsense")
    assert await pod.exit_code() == 1
    assert "Envoy cannot start (exit code 1)" in pod.log


async def test_flags_of_istio_that_mean_nothing_here_are_named_and_harmless(pod: Pod, istiod: Istiod) -> None:
    pod.start(istiod.address, "--stsPort=15463", "--log_as_json")
    await eventually(pod.ready)
    assert "flags without effect here: --stsPort=15463 --log_as_json\n" in pod.log


async def test_an_agent_is_light_and_starts_envoy_fast(running: Pod) -> None:
    # some 56; the allocator keeps 4 more now and then
    assert memory(running.pid) < 64
    # half a second, on a machine that has nothing else to do
    assert age(running.pid) - age(running.envoy) < 6.0
