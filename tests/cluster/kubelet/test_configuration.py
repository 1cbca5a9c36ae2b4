"""What a container is given: variables, volumes, users, limits; on a real containerd."""

import asyncio
import subprocess
import sys

from tests.cluster.kubelet.support import Containerd, Json, Node, pod


def shell(**more: object) -> Json:
    return {"name": "main", "image": "debian:12", "command": ["sleep", "100"], **more}


async def test_variables_come_from_everywhere_and_are_expanded(node: Node) -> None:
    node.memory.put("ConfigMap", "settings", {"COLOUR": "blue", "not a name": "x"})
    node.memory.put("Secret", "hidden", {"password": "c2VzYW1l"})
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "password"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "URL", "value": "http://$(IP)/$(UNKNOWN)/$$(IP)"},
    ]
    words = {"command": ["sh", "-c", "echo got $(APP); env; sleep 100"]}
    node.pods.apply(pod("env", shell(env=env, envFrom=[{"configMapRef": {"name": "settings"}}]) | words))
    status = await node.ready("env")
    environment = (await node.run("env", "main", "cat", "/proc/1/environ")).split("\0")
    ip = status["podIP"]
    for expected in (
        f"IP={ip}",
        "APP=env",
        "CPUS=2",
        "PASSWORD=sesame",
        f"URL=http://{ip}/$(UNKNOWN)/$(IP)",
        "COLOUR=blue",
        "KUBERNETES_SERVICE_HOST=10.96.0.1",
        "KUBERNETES_SERVICE_PORT=443",
        "MY_WEB_SERVICE_HOST=10.96.3.4",
        "MY_WEB_PORT_80_TCP=tcp://10.96.3.4:80",
    ):
        assert expected in environment
    assert not any(each.startswith("NONE=") for each in environment)
    assert "got env" in (await node.run("env", "main", "cat", "/proc/1/cmdline"))


async def test_volumes_follow_their_objects_while_the_pod_runs(node: Node) -> None:
    node.memory.put("ConfigMap", "pages", {"index.html": "one\n", "other": "x"})
    node.memory.token_life = 2.0
    projected = [
        {"serviceAccountToken": {"path": "token", "audience": "istio-ca", "expirationSeconds": 3600}},
        {"configMap": {"name": "pages", "items": [{"key": "other", "path": "deep/other"}]}},
        {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes = [
        {"name": "pages", "configMap": {"name": "pages", "defaultMode": 0o440}},
        {"name": "all", "projected": {"sources": projected}},
        {"name": "info", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    mounts = [
        {"name": "pages", "mountPath": "/pages"},
        {"name": "pages", "mountPath": "/etc/one", "subPath": "index.html"},
        {"name": "all", "mountPath": "/var/run/secrets/all", "readOnly": True},
        {"name": "info", "mountPath": "/usr/share/not/there"},
    ]
    object_ = pod("vol", shell(volumeMounts=mounts), volumes=volumes)
    node.pods.apply(object_)
    await node.ready("vol")

    async def read(path: str) -> str:
        return await node.run("vol", "main", "cat", path)

    async def becomes(path: str, text: str) -> None:
        async with asyncio.timeout(8):
            while await read(path) != text:
                await asyncio.sleep(0.1)

    assert await read("/pages/index.html") == "one\n"
    assert await read("/etc/one") == "one\n"
    assert await read("/var/run/secrets/all/token") == "token-1-istio-ca"
    assert await read("/var/run/secrets/all/deep/other") == "x"
    assert await read("/var/run/secrets/all/ns") == "default"
    assert await read("/usr/share/not/there/l") == 'app="vol"'
    node.memory.put("ConfigMap", "pages", {"index.html": "two\n", "other": "x"})
    object_ = {**object_, "metadata": {**object_["metadata"], "labels": {"app": "new"}}}
    node.pods.apply(object_)
    await becomes("/pages/index.html", "two\n")
    await becomes("/usr/share/not/there/l", 'app="new"')
    await becomes("/var/run/secrets/all/token", "token-2-istio-ca")
    assert (await node.run("vol", "main", "stat", "-Lc", "%a", "/pages/index.html")).strip() == "440"


async def test_a_missing_config_map_is_waited_for(node: Node) -> None:
    volumes = [{"name": "root", "configMap": {"name": "istio-ca-root-cert"}}]
    mounts = [{"name": "root", "mountPath": "/root-cert"}]
    node.pods.apply(pod("early", shell(volumeMounts=mounts), volumes=volumes))
    expected = 'FailedMount: MountVolume.SetUp failed for volume "root" : configmap "istio-ca-root-cert" not found'
    async with asyncio.timeout(5):
        while expected not in node.memory.told("early"):
            await asyncio.sleep(0.02)
    node.memory.put("ConfigMap", "istio-ca-root-cert", {"root-cert.pem": "PEM"})
    await node.ready("early", 3)
    assert await node.run("early", "main", "cat", "/root-cert/root-cert.pem") == "PEM"


async def test_users_capabilities_and_limits_are_the_specs(node: Node, containerd: Containerd) -> None:
    context = {
        "runAsUser": 1337,
        "runAsGroup": 1337,
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    limits = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "10m", "memory": "40Mi"}}
    volumes = [{"name": "data", "emptyDir": {}}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    admin: Json = {"name": "admin", "image": "debian:12", "command": ["sleep", "100"]}
    admin["securityContext"] = {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}}
    node.pods.apply(
        pod("user", shell(securityContext=context, resources=limits, volumeMounts=mounts), admin, volumes=volumes)
    )
    status = await node.ready("user")
    assert status["qosClass"] == "Burstable"
    facts = await node.run("user", "main", "sh", "-c", "id -u; id -g; touch /x; touch /data/y; ls /data")
    assert facts.split()[:2] == ["1337", "1337"]
    assert "Read-only file system" in facts
    assert facts.split()[2] == "y"
    process = await node.run("user", "main", "cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in process
    assert "NoNewPrivs:\t1" in process
    await node.run("user", "admin", "iptables", "-t", "nat", "-N", "TRIED")
    assert ":TRIED" in await node.run("user", "admin", "iptables-save", "-t", "nat")
    worker = node.pods.find("default", "user")
    assert worker is not None
    group = f"/sys/fs/cgroup/memory{containerd.cgroup}/poduid-user/{worker.seen.latest()['main'].id}"
    with open(f"{group}/memory.limit_in_bytes") as limit:  # noqa: ASYNC230, PTH123, a cgroup's file does not wait
        assert int(limit.read()) == 64 << 20


async def test_root_is_refused_where_the_pod_says_so(node: Node) -> None:
    node.pods.apply(pod("root", shell(securityContext={"runAsNonRoot": True})))

    def refused(status: Json) -> bool:
        states = [each["state"].get("waiting", {}) for each in status.get("containerStatuses", ())]
        return any(each.get("reason") == "CreateContainerConfigError" for each in states)

    status = await node.until("root", refused)
    message = status["containerStatuses"][0]["state"]["waiting"]["message"]
    assert message == (
        'container has runAsNonRoot and image will run as root (pod: "root_default(uid-root)", container: main)'
    )


async def test_names_resolve_by_the_cluster_and_the_pod_knows_its_own(node: Node) -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["db", "db.example"]}]
    node.pods.apply(pod("names", shell(), hostAliases=aliases, subdomain="sub"))
    status = await node.ready("names")
    resolver = await node.run("names", "main", "cat", "/etc/resolv.conf")
    assert "nameserver 10.96.0.10" in resolver
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in resolver
    assert "options ndots:5" in resolver
    hosts = await node.run("names", "main", "cat", "/etc/hosts")
    assert f"{status['podIP']}\tnames.sub.default.svc.cluster.local\tnames" in hosts
    assert "10.1.2.3\tdb\tdb.example" in hosts
    assert (await node.run("names", "main", "hostname")).strip() == "names"


async def test_weft_itself_runs_from_its_alias_as_any_user(node: Node) -> None:
    version = "import weft, sys; print(sys.prefix)"
    container = {
        "name": "main",
        "image": "weft.local/proxyv2:0.1.0",
        "command": ["sleep", "100"],
        "securityContext": {"runAsUser": 1337, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    node.pods.apply(pod("self", container))
    await node.ready("self")
    assert (await node.run("self", "main", sys.executable, "-c", version)).strip() == sys.prefix
    own = subprocess.run([sys.executable, "-c", version], capture_output=True, text=True, check=True)  # noqa: ASYNC221, short
    assert own.stdout.strip() == sys.prefix


async def test_the_stock_configuration_of_nginx_can_be_replaced(node: Node) -> None:
    node.memory.put("ConfigMap", "conf", {"own.conf": "server { listen 8080; return 200 'mine\\n'; }"})
    volumes = [{"name": "conf", "configMap": {"name": "conf"}}]
    web = {
        "name": "nginx",
        "image": "docker.io/library/nginx:1.25",
        "args": ["nginx", "-g", "daemon off;"],
        "volumeMounts": [{"name": "conf", "mountPath": "/etc/nginx/conf.d"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}},
    }
    node.pods.apply(pod("own", web, volumes=volumes))
    await node.ready("own", 5)
    assert await node.run("own", "nginx", "curl", "-s", "http://127.0.0.1:8080/") == "mine\n"
