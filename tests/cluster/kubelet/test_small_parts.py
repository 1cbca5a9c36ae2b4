"""Quantities, words, probes and files: the small pure parts."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.kubelet.support import pod

from weft.adapters.cri.types import Resources
from weft.cluster.kubelet import (
    environment,
    podspec,
    probes,
    quantity,
    recorder,
    runtime_config,
    volume_files,
    volumes,
)
from weft.cluster.kubelet.objects import ConfigError, Reference, references
from weft.cluster.kubelet.podspec import ClusterDns, resolver
from weft.cluster.kubelet.probes import Exec, Http, Role, Tally, Tcp
from weft.cluster.kubelet.volumes import Content


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"),
        ("2", "2"),
        ("1Gi", "1073741824"),
        ("1.5", "1.5"),
        ("1k", "1000"),
        ("1E3", "1000"),
        ("2M", "2e6"),
    ],
)
def test_quantities_are_read(text: str, value: str) -> None:
    assert quantity.parse(text) == Decimal(value)


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="Write numbers such as"):
        quantity.parse("lots")


def test_a_resource_field_is_rounded_up() -> None:
    assert quantity.divided("1500m", "0") == 2
    assert quantity.divided("1Gi", "1Mi") == 1024


def test_limits_become_cgroup_values() -> None:
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "10m", "memory": "40Mi"}}
    assert quantity.cgroup(resources, "Burstable", 8 << 30) == Resources(10, 100_000, 200_000, 1 << 30, 996)
    assert quantity.cgroup({}, "BestEffort", 8 << 30) == Resources(2, 0, 0, 0, 1000)
    same = {"limits": {"cpu": "1", "memory": "1Gi"}}
    assert quantity.qos_class(pod("x", {"resources": same})["spec"]) == "Guaranteed"
    assert quantity.qos_class(pod("x", {"resources": resources})["spec"]) == "Burstable"


def test_references_in_words_are_replaced_only_where_they_are_known() -> None:
    known = {"A": "1", "B.C": "2"}
    assert environment.expand("$(A)-$(B.C)-$(NO)-$$(A)-$A-$$", known) == "1-2-$(NO)-$(A)-$A-$"


@given(st.text("$()AB "), st.dictionaries(st.sampled_from("AB"), st.text("xy")))
def test_words_without_references_stay_as_they_are(text: str, known: dict[str, str]) -> None:
    if "$" not in text:
        assert environment.expand(text, known) == text


def test_every_object_that_a_pod_names_is_followed() -> None:
    volumes = [
        {"name": "a", "secret": {"secretName": "s"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "c"}}]}},
    ]
    container = {"name": "m", "image": "x", "envFrom": [{"secretRef": {"name": "e"}}]}
    assert references(pod("x", container, volumes=volumes)) == {
        Reference("Secret", "default", "s"),
        Reference("ConfigMap", "default", "c"),
        Reference("Secret", "default", "e"),
    }


def test_resolv_conf_follows_the_policy_and_the_pods_own_wishes() -> None:
    dns = ClusterDns()
    cluster = resolver({}, "ns", dns)
    assert cluster is not None
    assert cluster.searches == ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local")
    assert resolver({"dnsPolicy": "Default"}, "ns", dns) is None
    own = {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}
    mixed = resolver({"dnsConfig": own}, "ns", dns)
    assert mixed is not None
    assert (mixed.servers, mixed.options) == (("10.96.0.10", "1.1.1.1"), ("ndots:2",))


def test_a_probe_decides_after_enough_tries_in_a_row() -> None:
    rule = probes.timing(Role.LIVENESS, {"failureThreshold": 2, "exec": {}})
    once = probes.after(Tally(), False, rule)  # noqa: FBT003, a try that failed
    assert once.passing is None
    assert probes.after(once, True, rule).passing is True  # noqa: FBT003, a try that did not
    assert probes.after(once, False, rule).passing is False  # noqa: FBT003, the second in a row


def test_a_check_knows_ports_by_name() -> None:
    container = {"ports": [{"name": "http", "containerPort": 8080}]}
    get = {"httpGet": {"port": "http", "scheme": "HTTPS", "httpHeaders": [{"name": "X", "value": "1"}]}}
    assert probes.check(get, container, "10.0.0.1") == Http("10.0.0.1", 8080, "/", tls=True, headers=(("X", "1"),))
    assert probes.check({"tcpSocket": {"port": 81}}, container, "10.0.0.1") == Tcp("10.0.0.1", 81)
    assert probes.check({"exec": {"command": ["a"]}}, container, "") == Exec(("a",))
    with pytest.raises(ValueError, match="not named by the container"):
        probes.check({"tcpSocket": {"port": "db"}}, container, "")


async def test_a_closed_port_is_told_in_words() -> None:
    assert await probes.connect(Tcp("127.0.0.1", 9), 1) == "dial tcp 127.0.0.1:9: connect: connection refused"
    told = await probes.get(Http("127.0.0.1", 9, "/x", tls=False, headers=()), 1)
    assert told == 'Get "http://127.0.0.1:9/x": dial tcp 127.0.0.1:9: connect: connection refused'


FILES = st.dictionaries(
    st.sampled_from(("a", "b", "d/e", "d/f")),
    st.builds(Content, st.binary(max_size=4), st.sampled_from((0o644, 0o440))),
)


@given(st.lists(FILES, min_size=1, max_size=4))
def test_a_tree_is_always_exactly_its_last_files(
    tmp_path_factory: pytest.TempPathFactory, turns: list[dict[str, Content]]
) -> None:
    path = tmp_path_factory.mktemp("tree")
    for files in turns:
        volume_files.write_tree(path, files)
        shown = {
            str(each.relative_to(path)): each.read_bytes()
            for top in path.iterdir()
            if not top.name.startswith("..")
            for each in ([top] if top.is_file() else top.iterdir())
        }
        assert shown == {name: content.data for name, content in files.items()}
        assert not volume_files.write_tree(path, files)
    assert len([each for each in path.iterdir() if each.is_dir() and not each.is_symlink()]) == 1


def test_a_sub_path_stays_inside_its_volume(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "out").symlink_to("/etc")
    assert volume_files.within(volume, "new/folder").is_dir()
    for bad in ("../x", "/etc", "out/passwd"):
        with pytest.raises(ConfigError, match="volume"):
            volume_files.within(volume, bad)


async def test_an_event_told_again_is_counted() -> None:
    written = []
    now = [100.0]

    async def write(event: dict[str, object], fresh: bool) -> None:  # noqa: FBT001, the recorder calls it so
        written.append((event["count"], event["lastTimestamp"], fresh))

    told = recorder.Recorder("node", lambda: now[0], write)
    event = recorder.Event("BackOff", "again", warning=True, container="main")
    told.tell(pod("x", {"name": "main"}), event)
    now[0] = 101.0
    told.tell(pod("x", {"name": "main"}), event)
    import asyncio

    task = asyncio.create_task(told.run())
    async with asyncio.timeout(5):
        while len(written) < 2:
            await asyncio.sleep(0)
    task.cancel()
    assert written == [(1, "1970-01-01T00:01:40Z", True), (2, "1970-01-01T00:01:41Z", False)]


async def test_a_slow_write_of_one_pods_event_holds_up_no_other_pods() -> None:
    import asyncio

    written: set[str] = set()
    stuck = asyncio.Event()

    async def write(event: dict[str, Any], _fresh: bool) -> None:  # noqa: FBT001, the recorder calls it so
        if event["involvedObject"]["uid"] == "slow":
            await stuck.wait()
        written.add(event["involvedObject"]["uid"])

    told = recorder.Recorder("node", lambda: 100.0, write)
    others = {f"uid-{number}" for number in range(64)}
    for uid in ("slow", *sorted(others)):
        named = pod("x", {"name": "main"})
        named["metadata"]["uid"] = uid
        told.tell(named, recorder.Event("Started", "started", container="main"))
    task = asyncio.create_task(told.run())
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(written & others) > len(others) // 2
    stuck.set()
    async with asyncio.timeout(5):
        while written != others | {"slow"}:
            await asyncio.sleep(0)
    task.cancel()


def test_the_configuration_of_containerd_is_toml_with_short_sockets() -> None:
    import tomllib

    paths = runtime_config.RuntimePaths(Path("/root/a long/home/nodes/weft"), Path("/run/weft/abcdef/weft"))
    config = tomllib.loads(runtime_config.containerd_config(paths))
    assert config["grpc"]["address"] == "/run/weft/abcdef/weft/containerd.sock"
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "weft.local/pause:1"
    assert cri["restrict_oom_score_adj"] is True
    assert cri["cni"]["conf_dir"] == "/root/a long/home/nodes/weft/cni/net.d"


def test_a_volume_whose_root_is_the_groups_already_is_left_alone_where_that_is_asked_for(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    volume = volumes.Host("v", str(disk), "Directory", grouped=True)
    volume_files.place(tmp_path, volume, 2000, unless_root=True)
    (disk / "file").touch(mode=0o600)
    volume_files.place(tmp_path, volume, 2000, unless_root=True)
    assert (disk / "file").stat().st_mode & 0o777 == 0o600
    volume_files.place(tmp_path, volume, 2000)
    assert (disk / "file").stat().st_mode & 0o777 == 0o660


def test_a_mount_that_the_runtime_cannot_make_is_refused() -> None:
    mount = {"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "Enabled"}
    with pytest.raises(ConfigError, match="requested recursive read-only mode, but it is not supported"):
        podspec.mount(mount, "/x")
    assert podspec.mount({**mount, "recursiveReadOnly": "IfPossible"}, "/x").readonly
