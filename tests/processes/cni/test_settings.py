from pathlib import Path

import pytest

from weft.processes.cni import settings
from weft.processes.cni.flags import SettingsError
from weft.processes.cni.settings import Settings

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


def parsed(*arguments: str, **environment: str) -> Settings:
    return settings.parse(arguments, IN_A_POD | environment, host="machine")


def test_istios_variables_are_heeded_and_flags_come_first() -> None:
    found = parsed(
        "--cni-conf-name",
        "10-mine.conflist",
        CNI_CONF_NAME="20-other.conflist",
        MOUNTED_CNI_NET_DIR="/mnt/net.d",
        CHAINED_CNI_PLUGIN="false",
        EXCLUDE_NAMESPACES="kube-system, istio-system",
        REPAIR_DELETE_PODS="true",
        REPAIR_INIT_CONTAINER_EXIT_CODE="7",
        REPAIR_NODE_NAME="node-3",
    )
    assert found.plugin.conf_name == "10-mine.conflist"
    assert found.places.mounted_net_dir == Path("/mnt/net.d")
    assert found.places.net_dir == "/etc/cni/net.d"
    assert not found.plugin.chained
    assert found.excluded == {"kube-system", "istio-system"}
    assert (found.repair.delete, found.repair.exit_code, found.node) == (True, 7, "node-3")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHAINED_CNI_PLUGIN", "yess"),
        ("MONITORING_PORT", "99999"),
        ("CNI_CONF_NAME", "../passwd"),
        ("CNI_PLUGIN_PROGRAM", "go"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        parsed(**{variable: value})


@pytest.mark.parametrize(
    ("written", "agent", "plugin"),
    [
        ("", "warn", "warn"),
        ("cni:debug,ambient:debug", "debug", "debug"),
        ("default:error,cni-plugin:debug", "error", "debug"),
    ],
)
def test_levels_are_by_istios_scopes(written: str, agent: str, plugin: str) -> None:
    found = parsed("--log_output_level", written, LOG_LEVEL="warn")
    assert (found.level, found.plugin.level) == (agent, plugin)


def test_outside_a_pod_the_cluster_has_to_be_given() -> None:
    with pytest.raises(SettingsError, match="--kubeconfig"):
        settings.parse((), {}, host="machine")
