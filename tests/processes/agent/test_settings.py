import dataclasses
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from weft.processes.agent.settings import Drain, Paths, Settings, SettingsError, read
from weft.xds import protocols

ENVIRONMENT = {"POD_NAME": "nginx-1", "POD_NAMESPACE": "sidecar", "INSTANCE_IP": "10.244.0.6"}
ARGUMENTS = [
    *("--domain", "sidecar.svc.example.org", "--proxyLogLevel=warning", "--proxyComponentLogLevel=misc:error"),
    "--log_output_level=default:info",
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "labels").write_text('app="nginx"\n')
    (tmp_path / "annotations").write_text("")
    return Paths(pod=tmp_path)


def settings(paths: Paths, *flags: str, **environment: str) -> Settings:
    return read([*ARGUMENTS, *flags], {**ENVIRONMENT, **environment}, version="0.1.0", paths=paths)


def test_an_injected_pod_needs_nothing_else(paths: Paths) -> None:
    found = settings(paths)
    assert found.istiod == "istiod.istio-system.svc:15012"
    assert found.node.id == "sidecar~10.244.0.6~nginx-1.sidecar~sidecar.svc.example.org"
    assert found.node.metadata["LABELS"] == {"app": "nginx"}
    assert found.log_level == "warning"
    assert found.ignored == ()
    assert found.drain == Drain(timedelta(seconds=5), until_idle=False, envoy=timedelta(seconds=45))


def test_connections_that_nobody_uses_end_before_the_drain_that_would_cut_them_off(paths: Paths) -> None:
    assert protocols.IDLE_TIMEOUT + timedelta(seconds=10) < settings(paths).drain.envoy


def test_a_router_introduces_itself_as_one(paths: Paths) -> None:
    found = read(ARGUMENTS, ENVIRONMENT, version="0.1.0", paths=paths, role="router")
    assert found.node.id == "router~10.244.0.6~nginx-1.sidecar~sidecar.svc.example.org"


@pytest.mark.parametrize(
    ("config", "limit", "workers"),
    [("{}", "2", 2), ("{}", "1", 1), ("{}", "16", 2), ("{}", "", 2), ('{"concurrency":4}', "2", 4)],
)
def test_workers_follow_the_limit_up_to_two_unless_asked_for(
    paths: Paths, config: str, limit: str, workers: int
) -> None:
    assert settings(paths, PROXY_CONFIG=config, ISTIO_CPU_LIMIT=limit).concurrency == workers


def test_the_drain_is_the_pods_to_choose(paths: Paths) -> None:
    found = settings(
        paths, PROXY_CONFIG='{"terminationDrainDuration":"1m"}', EXIT_ON_ZERO_ACTIVE_CONNECTIONS="true"
    )
    assert found.drain.least == timedelta(minutes=1)
    assert found.drain.until_idle


def test_unknown_flags_are_kept_to_be_reported(paths: Paths) -> None:
    assert settings(paths, "--stsPort=1", "--trust-domain=x").ignored == ("--stsPort=1", "--trust-domain=x")


@pytest.mark.parametrize(
    ("written", "level"),
    [("default:debug", logging.DEBUG), ("ads:debug,default:error", logging.ERROR), ("info", logging.INFO)],
)
def test_the_agents_own_log_level_is_that_of_the_default_scope(paths: Paths, written: str, level: int) -> None:
    arguments = ["--domain=sidecar.svc.cluster.local", f"--log_output_level={written}"]
    assert read(arguments, ENVIRONMENT, version="0.1.0", paths=paths).agent_log_level == level


@pytest.mark.parametrize("missing", ENVIRONMENT)
def test_a_missing_variable_is_named(paths: Paths, missing: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != missing}
    with pytest.raises(SettingsError, match=missing):
        read(ARGUMENTS, environment, version="0.1.0", paths=paths)


def test_malformed_json_and_missing_files_are_named(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PROXY_CONFIG"):
        settings(paths, PROXY_CONFIG="{")
    elsewhere = dataclasses.replace(paths, pod=tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="istio-podinfo"):
        settings(elsewhere)
