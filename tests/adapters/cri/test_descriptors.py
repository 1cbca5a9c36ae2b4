from pathlib import Path

import pytest

from weft.adapters.cri import descriptors
from weft.adapters.cri.encode import container_config, sandbox_config
from weft.adapters.cri.types import ContainerSpec, Dns, Mount, Namespaces, SandboxSpec, Security, Space


def test_messages_come_out_of_containerd_itself_and_are_kept(tmp_path: Path) -> None:
    first = descriptors.load(cache=tmp_path)
    kept = list(tmp_path.iterdir())
    assert [each.suffix for each in kept] == [".binpb"]
    second = descriptors.load(cache=tmp_path)
    for messages in (first, second):
        message = messages("runtime.v1.PodSandboxMetadata")(name="web", attempt=3)
        assert message.FromString(message.SerializeToString()).attempt == 3
        assert messages("containerd.events.TaskExit")(container_id="x").container_id == "x"
    assert list(tmp_path.iterdir()) == kept


def test_a_binary_without_descriptors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(descriptors.DescriptorError, match="Install containerd"):
        descriptors.load(tmp_path / "missing")
    other = tmp_path / "other"
    other.write_bytes(b"\x1f\x8b\x08 nothing" * 10)
    with pytest.raises(descriptors.DescriptorError, match=r"needs containerd 1\.6"):
        descriptors.load(other)


def test_values_become_messages_field_by_field() -> None:
    messages = descriptors.load()
    sandbox = sandbox_config(
        messages,
        SandboxSpec(
            "web",
            "u",
            "ns",
            1,
            "web",
            "/logs",
            "/weft-x/podu",
            dns=Dns(("10.96.0.10",)),
            namespaces=Namespaces(network=Space.NODE),
        ),
    )
    assert sandbox.linux.cgroup_parent == "/weft-x/podu"
    assert list(sandbox.dns_config.servers) == ["10.96.0.10"]
    assert sandbox.linux.security_context.namespace_options.network == 2
    container = container_config(
        messages,
        ContainerSpec(
            "main",
            2,
            "weft.local/host:1",
            args=("a",),
            env=(("K", "v"),),
            mounts=(Mount("/c", "/h", readonly=True),),
            security=Security(user=0, drop_capabilities=("ALL",), no_new_privs=True),
        ),
    )
    assert (container.metadata.attempt, list(container.args)) == (2, ["a"])
    assert (container.envs[0].key, container.mounts[0].readonly) == ("K", True)
    assert container.linux.security_context.HasField("run_as_user")
    assert container.linux.security_context.no_new_privs is True
    plain = container_config(messages, ContainerSpec("main", 0, "x"))
    assert not plain.linux.security_context.HasField("run_as_user")
