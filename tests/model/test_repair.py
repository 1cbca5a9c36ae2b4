"""Pods that are not captured: how that shows, and what is done."""

from typing import Any

import pytest

from weft.model.repair import Action, Choice, Signs, failure, left_alone, sandbox

Json = dict[str, Any]
WAITING = {"waiting": {"reason": "CrashLoopBackOff"}}
RUNNING: Json = {"running": {}}


def ended(code: int, message: str = "") -> Json:
    return {"terminated": {"exitCode": code, "message": message}}


def pod(state: Json, last: Json | None = None, name: str = "istio-validation", **fields: Any) -> Json:
    status = {"name": name, "containerID": "containerd://1", "state": state, "lastState": last or {}}
    annotations = {"sidecar.istio.io/status": "{}"}
    return {"metadata": {"annotations": annotations}, "status": {"initContainerStatuses": [status]}} | fields


@pytest.mark.parametrize(
    ("seen", "signs", "fails"),
    [
        pytest.param(pod(WAITING, ended(126)), Signs(), True, id="it waits to be started again"),
        pytest.param(pod(ended(126)), Signs(), True, id="it has just ended"),
        pytest.param(pod(RUNNING, ended(126)), Signs(), True, id="it tries again"),
        pytest.param(pod(ended(0), ended(126)), Signs(), False, id="it has succeeded since"),
        pytest.param(pod(ended(1), ended(126)), Signs(), False, id="it ended otherwise since"),
        pytest.param(pod(WAITING, ended(1)), Signs(), False, id="another code"),
        pytest.param(pod(RUNNING), Signs(), False, id="it has not ended yet"),
        pytest.param(pod(WAITING, ended(126), "other"), Signs(), False, id="another container"),
        pytest.param(pod(WAITING, ended(126), "other"), Signs(init_container=""), True, id="any container"),
        pytest.param(pod(WAITING, ended(7)), Signs(exit_code=0), True, id="any code"),
        pytest.param(pod(WAITING, ended(0)), Signs(exit_code=0), False, id="but not success"),
        pytest.param(pod(WAITING, ended(126, "no\n")), Signs(message="no"), True, id="the message"),
        pytest.param(pod(WAITING, ended(126, "so")), Signs(message="no"), False, id="another message"),
        pytest.param({"status": {}}, Signs(), False, id="nothing known yet"),
    ],
)
def test_validation_that_last_ended_with_126_is_the_sign(seen: Json, signs: Signs, *, fails: bool) -> None:
    assert (failure(seen, signs) is not None) == fails


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"metadata": {"annotations": {"sidecar.istio.io/status": "{}"}, "deletionTimestamp": "now"}}, "deleted"),
        ({"status": {"phase": "Succeeded"}}, "ended"),
        ({"status": {"phase": "Failed"}}, "ended"),
        ({"metadata": {}}, "annotation sidecar.istio.io/status"),
    ],
)
def test_nothing_is_done_about_pods_that_go_have_ended_or_were_not_injected(changes: Json, reason: str) -> None:
    said = left_alone(pod(RUNNING) | changes, Signs())
    assert reason in said
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("choice", "action"),
    [
        (Choice(repair=True, delete=True, label=True), "repair"),
        (Choice(delete=True, label=True), "delete"),
        (Choice(label=True), "label"),
        (Choice(), "tell"),
    ],
)
def test_to_repair_goes_before_to_delete_and_that_before_to_label(choice: Choice, action: Action) -> None:
    assert choice.action == action


def test_a_sandbox_is_told_by_the_first_container_that_it_ran() -> None:
    statuses = {
        "initContainerStatuses": [{"name": "istio-validation", "containerID": "containerd://a"}],
        "containerStatuses": [{"name": "app", "containerID": "containerd://b"}],
    }
    assert sandbox({"status": statuses}) == "containerd://a"
    assert sandbox({"status": {"podIPs": [{"ip": "10.0.0.1"}]}}) == ""
    assert sandbox({"status": {"initContainerStatuses": [{"name": "istio-validation"}]}}) == ""
