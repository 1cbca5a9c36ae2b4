"""What istiod is told."""

from datetime import timedelta
from pathlib import Path

import pytest

from weft.model.mesh_config import MeshConfig
from weft.pki.authority import Lifetimes
from weft.processes.controlplane import settings
from weft.processes.controlplane.settings import Settings, SettingsError

KUBECONFIG = """
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
"""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    (tmp_path / "config").write_text(KUBECONFIG)
    return f"--kubeconfig={tmp_path / 'config'}"


def parse(*arguments: str, **environment: str) -> Settings:
    return settings.parse(["discovery", *arguments], environment, host="machine")


def test_ports_are_istios_and_the_plaintext_one_is_closed_unless_told_otherwise(kubeconfig: str) -> None:
    told = parse(kubeconfig, "--monitoringAddr=127.0.0.1:9")
    assert (told.plaintext, told.secure, told.https, told.monitoring, told.ready) == (
        "",
        "0.0.0.0:15012",
        "0.0.0.0:15017",
        "127.0.0.1:9",
        "0.0.0.0:8080",
    )
    assert parse(kubeconfig, "--grpcAddr=:15010").plaintext == "0.0.0.0:15010"


def test_the_pods_environment_names_istiod_and_what_it_injects(kubeconfig: str) -> None:
    told = parse(kubeconfig, POD_NAME="istiod-1", POD_NAMESPACE="mesh", REVISION="r2", WEFT_PROXY_IMAGE="proxy:2")
    assert (told.name, told.namespace, told.revision, told.proxy_image) == ("istiod-1", "mesh", "r2", "proxy:2")
    assert told.server_names == ("istiod.mesh.svc", "istiod.mesh.svc.cluster.local", "istiod.mesh")
    assert parse(kubeconfig).name == "machine"


def test_how_pods_are_captured_is_told_by_the_environment(kubeconfig: str) -> None:
    def told(**environment: str) -> tuple[bool | None, bool, bool]:
        found = parse(kubeconfig, **environment)
        return found.native_sidecars, found.cni, found.multus

    assert told() == told(ENABLE_NATIVE_SIDECARS="auto") == (None, False, False)
    assert told(ENABLE_NATIVE_SIDECARS="true", WEFT_CNI="true") == (True, True, False)
    assert told(ENABLE_NATIVE_SIDECARS="false", WEFT_CNI="1", WEFT_CNI_PROVIDER="multus") == (False, True, True)
    for name in ("ENABLE_NATIVE_SIDECARS", "WEFT_CNI_PROVIDER"):
        with pytest.raises(SettingsError, match=f"{name}: 'perhaps' is neither"):
            told(**{name: "perhaps"})


def test_namespaces_that_may_look_at_everything_are_named_as_for_istio(kubeconfig: str) -> None:
    told = parse(kubeconfig, DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES="kiali, monitoring,")
    assert told.debug_namespaces == {"kiali", "monitoring"}
    assert parse(kubeconfig).debug_namespaces == frozenset()


def test_nodes_are_opened_only_where_that_is_asked_for(kubeconfig: str) -> None:
    assert parse(kubeconfig, PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS="true").untaint
    assert not parse(kubeconfig).untaint


def test_outside_a_pod_a_kubeconfig_is_needed() -> None:
    with pytest.raises(SettingsError, match="--kubeconfig"):
        parse()


def test_the_mesh_config_map_tells_the_trust_domain(kubeconfig: str) -> None:
    told = parse(kubeconfig)
    said = settings.mesh({"data": {"mesh": "trustDomain: td\nrootNamespace: root\nconnectTimeout: 3"}}, told)
    assert said == MeshConfig("td", root_namespace="root")
    assert settings.mesh({}, told) == MeshConfig("cluster.local", root_namespace="istio-system")


def test_a_mesh_config_map_that_is_no_yaml_is_an_error_that_names_it(kubeconfig: str) -> None:
    with pytest.raises(SettingsError, match="ConfigMap istio-system/istio, key mesh"):
        settings.mesh({"data": {"mesh": "a: ["}}, parse(kubeconfig))


def test_the_lives_of_certificates_and_the_accounts_of_node_proxies_are_settings(kubeconfig: str) -> None:
    usual = parse(kubeconfig).issuing
    assert (usual.lifetimes, usual.node_accounts) == (Lifetimes(), frozenset())
    told = parse(
        kubeconfig,
        DEFAULT_WORKLOAD_CERT_TTL="12h",
        MAX_WORKLOAD_CERT_TTL="48h",
        CA_TRUSTED_NODE_ACCOUNTS="istio-system/ztunnel, kube-system/ztunnel",
    ).issuing
    assert told.lifetimes == Lifetimes(timedelta(hours=12), timedelta(hours=48))
    assert told.node_accounts == {("istio-system", "ztunnel"), ("kube-system", "ztunnel")}
    # a short cap shortens what nobody has set
    assert parse(kubeconfig, MAX_WORKLOAD_CERT_TTL="1h").issuing.lifetimes.default == timedelta(hours=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFAULT_WORKLOAD_CERT_TTL", "a day"),
        ("DEFAULT_WORKLOAD_CERT_TTL", "48h"),
        ("MAX_WORKLOAD_CERT_TTL", "1s"),
        ("CA_TRUSTED_NODE_ACCOUNTS", "ztunnel"),
        ("CA_TRUSTED_NODE_ACCOUNTS", "a/b/c"),
    ],
)
def test_settings_of_certificates_that_make_no_sense_are_errors_that_name_them(
    kubeconfig: str, name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        parse(kubeconfig, **{name: value})


def test_an_authority_of_our_own_is_made_by_istios_variables(kubeconfig: str) -> None:
    usual = parse(kubeconfig).own_authority("td.example")
    assert (usual.organization, usual.rsa_bits, usual.lifetime) == ("td.example", 0, timedelta(days=3650))
    told = parse(
        kubeconfig,
        CITADEL_SELF_SIGNED_CA_CERT_TTL="720h",
        CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE="4096",
        CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE="30",
        CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL="0s",
    ).own
    assert (told.lifetime, told.rsa_bits, told.grace, told.every) == (timedelta(days=30), 4096, 0.3, timedelta())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE", "1024"),
        ("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE", "much"),
        ("CITADEL_SELF_SIGNED_CA_CERT_TTL", "1s"),
        ("CITADEL_SELF_SIGNED_CA_CERT_TTL", "long"),
        ("CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE", "100"),
    ],
)
def test_an_authority_that_cannot_be_made_ends_the_program_with_the_variables_name(
    kubeconfig: str, name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        parse(kubeconfig, **{name: value})
