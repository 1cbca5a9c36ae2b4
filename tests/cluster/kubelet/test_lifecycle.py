"""Playbooks: what is there, what is remembered, and what is to be done next."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.kubelet.support import Json, pod

from weft.adapters.cri.types import Container, Sandbox, State
from weft.cluster.kubelet.lifecycle import (
    SANDBOX,
    Backoff,
    Finish,
    Health,
    Kill,
    Notes,
    Plan,
    Remove,
    RemoveSandbox,
    RunSandbox,
    Seen,
    Start,
    StopSandbox,
    Trouble,
    decide,
    held_until,
    next_backoff,
    outcome,
)
from weft.cluster.kubelet.podspec import digest
from weft.cluster.kubelet.status import begun, difference, status, timestamp

NOW = 1000.0
UP = Sandbox("s0", "uid", "web", "default", 0, ready=True, created=1.0, ip="10.0.0.5")


def spec(name: str, **more: object) -> Json:
    return {"name": name, "image": "nginx", **more}


def box(name: str, state: State, attempt: int = 0, *, code: int = 0, sandbox: str = "s0") -> Container:
    ended = NOW - 1 if state is State.EXITED else 0.0
    return Container(
        f"{name}-{attempt}", "uid", sandbox, name, attempt, state, 10.0 + attempt, 11.0, ended, exit_code=code
    )


def seen(*containers: Container, sandbox: Sandbox | None = UP) -> Seen:
    return Seen((sandbox,) if sandbox else (), containers)


def condition(result: Json, kind: str) -> Json:
    return next(each for each in result["conditions"] if each["type"] == kind)


def test_a_new_pod_begins_with_its_sandbox() -> None:
    web = pod("web", spec("a"), spec("b"))
    assert decide(web, Seen(), Notes(), NOW) == Plan((RunSandbox(0),))
    assert decide(web, Seen(), Notes(busy=frozenset({SANDBOX})), NOW) == Plan()


def test_containers_start_one_after_the_other() -> None:
    web = pod("web", spec("a"), spec("b"))
    assert decide(web, seen(), Notes(), NOW) == Plan((Start("a", 0),))
    assert decide(web, seen(), Notes(busy=frozenset({"a"})), NOW) == Plan()
    assert decide(web, seen(box("a", State.RUNNING)), Notes(), NOW) == Plan((Start("b", 0),))
    assert decide(web, seen(box("a", State.RUNNING), box("b", State.RUNNING)), Notes(), NOW) == Plan()


def test_an_init_container_is_waited_for_and_a_failed_one_tried_again_or_not() -> None:
    web = pod("web", spec("main"), initContainers=[spec("init")])
    assert decide(web, seen(), Notes(), NOW) == Plan((Start("init", 0),))
    assert decide(web, seen(box("init", State.RUNNING)), Notes(), NOW) == Plan()
    assert decide(web, seen(box("init", State.EXITED)), Notes(), NOW) == Plan((Start("main", 0),))
    failed = seen(box("init", State.EXITED, code=1))
    assert decide(web, failed, Notes(), NOW) == Plan((Start("init", 1, NOW - 1),))
    never = pod("web", spec("main"), initContainers=[spec("init")], restartPolicy="Never")
    assert outcome(never, failed, NOW) == "Failed"
    assert decide(never, failed, Notes(), NOW) == Plan((StopSandbox("s0"),))


def test_a_sidecar_holds_the_others_until_it_has_started_and_ends_after_them() -> None:
    side = spec("side", restartPolicy="Always", startupProbe={"exec": {"command": ["true"]}})
    web = pod("web", spec("main"), initContainers=[side], restartPolicy="Never")
    assert decide(web, seen(box("side", State.RUNNING)), Notes(), NOW) == Plan()
    started = Notes(health={"side-0": Health(started=True, ready=True)})
    assert decide(web, seen(box("side", State.RUNNING)), started, NOW) == Plan((Start("main", 0),))
    done = seen(box("side", State.RUNNING), box("main", State.EXITED))
    assert decide(web, done, started, NOW) == Plan((Kill("side-0", "side", 30, "Stopping container side"),))
    assert status(web, done, started, "n", NOW)["phase"] == "Running"
    ended = seen(box("side", State.EXITED, code=143), box("main", State.EXITED))
    assert status(web, ended, started, "n", NOW)["phase"] == "Succeeded"


def test_a_crash_is_answered_at_once_and_then_ever_more_slowly() -> None:
    web = pod("web", spec("main"))
    crashed = seen(box("main", State.EXITED, code=1))
    assert decide(web, crashed, Notes(), NOW) == Plan((Start("main", 1, NOW - 1),))
    held = Notes(backoffs={"main": Backoff(10.0, NOW - 5)})
    assert decide(web, crashed, held, NOW) == Plan((), NOW + 9)
    state = status(web, crashed, held, "n", NOW)["containerStatuses"][0]
    assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert state["lastState"]["terminated"]["exitCode"] == 1
    delays, backoff = [], None
    for crash in range(8):
        backoff = next_backoff(backoff, float(crash))
        delays.append(backoff.delay)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert next_backoff(Backoff(300.0, 0.0), 601.0) == Backoff(10.0, 601.0)


@given(st.floats(1, 300), st.floats(0, 1e6), st.floats(0, 1e6))
def test_nothing_is_held_longer_than_its_back_off(delay: float, since: float, ended: float) -> None:
    assert ended <= held_until(Backoff(delay, since), ended) <= ended + delay


def test_a_probe_that_failed_for_good_kills() -> None:
    web = pod("web", spec("main", livenessProbe={"exec": {"command": ["false"]}}))
    sick = Notes(health={"main-0": Health(started=True, ready=True, failed="sick")})
    assert decide(web, seen(box("main", State.RUNNING)), sick, NOW).actions == (
        Kill("main-0", "main", 30, "sick"),
    )


def test_a_dead_sandbox_is_stopped_before_the_next_is_run() -> None:
    web = pod("web", spec("main"))
    dead = replace(UP, ready=False)
    left = seen(box("main", State.EXITED, code=255), sandbox=dead)
    assert decide(web, left, Notes(), NOW) == Plan((StopSandbox("s0"),))
    stopped = Notes(stopped=frozenset({"s0"}))
    assert decide(web, left, stopped, NOW) == Plan((RunSandbox(1),))
    fresh = Sandbox("s1", "uid", "web", "default", 1, ready=True, created=2.0, ip="10.0.0.6")
    both = Seen((dead, fresh), left.containers)
    assert decide(web, both, stopped, NOW) == Plan((Start("main", 1),))
    assert status(web, both, stopped, "n", NOW)["containerStatuses"][0]["restartCount"] == 0


def test_trouble_is_waited_out() -> None:
    web = pod("web", spec("main"))
    trouble = Notes(troubles={"main": Trouble("ImagePullBackOff", "no such image", NOW + 7)})
    assert decide(web, seen(), trouble, NOW) == Plan((), NOW + 7)
    assert decide(web, seen(), trouble, NOW + 7) == Plan((Start("main", 0),))
    network = Notes(troubles={SANDBOX: Trouble("FailedCreatePodSandBox", "no address", NOW + 1)}, failures=1)
    assert decide(web, Seen(), network, NOW) == Plan((), NOW + 1)
    assert decide(web, Seen(), network, NOW + 1) == Plan((RunSandbox(1),))


def test_a_deletion_ends_containers_then_sidecars_then_everything() -> None:
    side = spec("side", restartPolicy="Always")
    web = pod("web", spec("a"), spec("b"), initContainers=[side])
    ending = Notes(terminating=NOW - 4, grace=10)
    running = seen(*(box(name, State.RUNNING) for name in ("side", "a", "b")))
    assert [action.name for action in decide(web, running, ending, NOW).actions if isinstance(action, Kill)] == [
        "a",
        "b",
    ]
    late = seen(box("side", State.RUNNING), box("a", State.EXITED), box("b", State.EXITED))
    assert decide(web, late, ending, NOW) == Plan((Kill("side-0", "side", 6, "Stopping container side"),))
    over = seen(*(box(name, State.EXITED) for name in ("side", "a", "b")))
    assert decide(web, over, ending, NOW) == Plan((RemoveSandbox("s0"),))
    assert decide(web, Seen(), ending, NOW) == Plan((Finish(),))
    assert decide(web, Seen(), replace(ending, busy=frozenset({"a"})), NOW) == Plan()


def test_only_the_last_ended_container_of_a_name_is_kept() -> None:
    web = pod("web", spec("main"))
    many = seen(box("main", State.RUNNING, 2), box("main", State.EXITED, 1), box("main", State.EXITED, 0))
    assert decide(web, many, Notes(), NOW) == Plan((Remove("main-0"),))


def test_the_status_of_a_running_pod_has_all_that_kubectl_shows() -> None:
    web = pod("web", spec("main", readinessProbe={"tcpSocket": {"port": 80}}))
    unready = status(web, seen(box("main", State.RUNNING)), Notes(), "192.168.49.2", NOW)
    assert unready["phase"] == "Running"
    assert condition(unready, "Ready")["message"] == "containers with unready status: [main]"
    ready_notes = Notes(health={"main-0": Health(started=True, ready=True)})
    shown = {**web, "status": unready}
    ready = status(shown, seen(box("main", State.RUNNING)), ready_notes, "192.168.49.2", NOW + 5)
    assert condition(ready, "Ready")["status"] == "True"
    assert condition(ready, "Ready")["lastTransitionTime"] == "1970-01-01T00:16:45Z"
    assert condition(ready, "Initialized") == condition(unready, "Initialized")
    patch = difference(ready, unready)
    assert patch is not None
    assert set(patch) == {"conditions", "containerStatuses"}
    assert difference(ready, ready) is None
    assert (ready["podIP"], ready["hostIP"], ready["qosClass"]) == ("10.0.0.5", "192.168.49.2", "BestEffort")


def test_a_waiting_pod_says_what_it_waits_for() -> None:
    web = pod("web", spec("main"), initContainers=[spec("init")])
    waiting = status(web, seen(), Notes(), "n", NOW)
    assert waiting["phase"] == "Pending"
    assert waiting["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert condition(waiting, "Initialized")["message"] == "containers with incomplete status: [init]"


NAMES = ("init", "side", "a", "b")
ANY_STATE = st.sampled_from((None, *State))


@given(
    st.tuples(ANY_STATE, ANY_STATE, ANY_STATE, ANY_STATE),
    st.sampled_from(("Always", "OnFailure", "Never")),
    st.sets(st.sampled_from((*NAMES, SANDBOX))),
    st.booleans(),
    st.booleans(),
)
def test_nothing_that_is_busy_is_touched_and_a_status_can_always_be_told(
    states: tuple[State | None, ...],
    policy: str,
    busy: set[str],
    ready: bool,  # noqa: FBT001, drawn
    ending: bool,  # noqa: FBT001, drawn
) -> None:
    side = spec("side", restartPolicy="Always")
    web = pod("web", spec("a"), spec("b"), initContainers=[spec("init"), side], restartPolicy=policy)
    boxes = [box(name, state) for name, state in zip(NAMES, states, strict=True) if state is not None]
    there = seen(*boxes, sandbox=replace(UP, ready=ready))
    notes = Notes(busy=frozenset(busy), terminating=NOW if ending else 0.0)
    plan = decide(web, there, notes, NOW)
    for action in plan.actions:
        match action:
            case Start(name) | Kill(name=name):
                assert name not in busy
            case RunSandbox():
                assert SANDBOX not in busy
            case _:
                pass
    starts = [action for action in plan.actions if isinstance(action, Start)]
    assert not (ending and starts)
    assert status(web, there, notes, "n", NOW)["phase"] in {"Pending", "Running", "Succeeded", "Failed"}


def waiting(result: Json, kind: str = "containerStatuses") -> list[str]:
    return [each["state"].get("waiting", {}).get("reason", "") for each in result[kind]]


def test_what_waits_for_init_containers_says_pod_initializing_as_kubectl_counts_by_it() -> None:
    web = pod("web", spec("main"), initContainers=[spec("init"), spec("second")])
    first = status(web, seen(), Notes(), "n", NOW)
    assert waiting(first) == ["PodInitializing"]
    assert waiting(first, "initContainerStatuses") == ["PodInitializing"] * 2
    between = status(web, seen(box("init", State.EXITED)), Notes(), "n", NOW)
    assert waiting(between, "initContainerStatuses") == ["", "PodInitializing"]
    assert waiting(status(pod("web", spec("main")), seen(), Notes(), "n", NOW)) == ["ContainerCreating"]


def test_a_debug_container_starts_beside_whatever_runs_and_is_never_started_again() -> None:
    web = pod("web", spec("main"), initContainers=[spec("init")], ephemeralContainers=[spec("debug")])
    running = seen(box("init", State.RUNNING))
    assert decide(web, running, Notes(), NOW).actions == (Start("debug", 0),)
    failed = seen(box("init", State.RUNNING), box("debug", State.EXITED, code=1))
    assert decide(web, failed, Notes(), NOW) == Plan()
    shown = status(web, failed, Notes(), "n", NOW)["ephemeralContainerStatuses"][0]
    assert shown["state"]["terminated"]["exitCode"] == 1
    assert "started" not in shown
    # it neither makes the pod ready nor keeps it from ending
    over = pod("web", spec("main"), ephemeralContainers=[spec("debug")], restartPolicy="Never")
    done = seen(box("main", State.EXITED), box("debug", State.RUNNING))
    assert decide(over, done, Notes(), NOW).actions == (Kill("debug-0", "debug", 30, "Stopping container debug"),)


def test_another_image_ends_a_container_and_starts_it_whatever_its_policy() -> None:
    web = pod("web", spec("main") | {"image": "nginx:2"}, restartPolicy="Never")
    old = replace(box("main", State.RUNNING), made_from=digest(spec("main")))
    kill = Kill("main-0", "main", 30, "Container main definition changed, will be restarted")
    assert decide(web, seen(old), Notes(), NOW).actions == (kill,)
    ended = replace(box("main", State.EXITED, code=137), made_from=digest(spec("main")))
    assert outcome(web, seen(ended), NOW) == ""
    assert decide(web, seen(ended), Notes(), NOW).actions == (Start("main", 1),)
    same = replace(box("main", State.RUNNING), made_from=digest(web["spec"]["containers"][0]))
    assert decide(web, seen(same), Notes(), NOW) == Plan()
    # resources may change while it runs
    assert digest(spec("main", resources={"limits": {"cpu": "1"}})) == digest(spec("main"))


def test_a_deadline_is_kept_to_the_second_and_ends_what_runs() -> None:
    web = pod("web", spec("main"), activeDeadlineSeconds=60)
    web["status"] = {"startTime": timestamp(NOW - 59)}
    assert decide(web, seen(box("main", State.RUNNING)), Notes(), NOW) == Plan((), NOW + 1)
    late = seen(box("main", State.RUNNING))
    assert decide(web, late, Notes(), NOW + 1).actions == (Kill("main-0", "main", 30, "Stopping container main"),)
    shown = status(web, seen(box("main", State.EXITED, code=143)), Notes(), "n", NOW + 1)
    assert (shown["phase"], shown["reason"]) == ("Failed", "DeadlineExceeded")
    assert shown["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    # also where not even the sandbox came up
    assert decide(web, Seen(), Notes(), NOW + 1) == Plan()
    assert status(web, Seen(), Notes(), "n", NOW + 1)["phase"] == "Failed"


def test_a_containers_own_rules_go_before_the_pods_policy() -> None:
    retried = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    web = pod("web", spec("main", restartPolicy="Never", restartPolicyRules=[retried]), restartPolicy="Always")
    again = seen(box("main", State.EXITED, code=42))
    assert decide(web, again, Notes(), NOW) == Plan((Start("main", 1, NOW - 1),))
    over = seen(box("main", State.EXITED, code=1))
    assert status(web, over, Notes(), "n", NOW)["phase"] == "Failed"
    done = seen(box("main", State.EXITED))
    assert status(web, done, Notes(), "n", NOW)["phase"] == "Succeeded"


def test_a_pod_past_its_deadline_ends_all_its_containers_at_once_and_its_sidecars_after_them() -> None:
    side = spec("side", restartPolicy="Always")
    web = pod("web", spec("a"), spec("b"), initContainers=[side], activeDeadlineSeconds=1)
    web["status"] = {"startTime": "1970-01-01T00:00:00Z"}
    boxes = [box(name, State.RUNNING) for name in ("side", "a", "b")]
    ending = [Kill(f"{name}-0", name, 30, f"Stopping container {name}") for name in ("a", "b")]
    assert decide(web, seen(*boxes), Notes(), NOW) == Plan(tuple(ending))
    left = decide(web, seen(boxes[0]), Notes(), NOW)
    assert left == Plan((Kill("side-0", "side", 30, "Stopping container side"),))


def test_a_probe_that_fails_before_the_start_gives_its_own_grace() -> None:
    probe = {"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 7}
    web = pod("web", spec("main", startupProbe=probe, livenessProbe={**probe, "terminationGracePeriodSeconds": 3}))
    for started, grace in ((False, 7), (True, 3)):
        notes = Notes(health={"main-0": Health(started=started, ready=False, failed="x")})
        (kill,) = decide(web, seen(box("main", State.RUNNING)), notes, NOW).actions
        assert isinstance(kill, Kill)
        assert kill.grace == grace


def test_statuses_are_in_the_order_of_their_names_and_messages_in_that_of_the_spec() -> None:
    web = pod("web", spec("z"), spec("a"))
    web["metadata"]["generation"] = 3
    told = status(web, seen(), Notes(), "n", NOW)
    assert [each["name"] for each in told["containerStatuses"]] == ["a", "z"]
    ready = next(each for each in told["conditions"] if each["type"] == "Ready")
    assert ready["message"] == "containers with unready status: [z a]"
    assert (told["observedGeneration"], ready["observedGeneration"]) == (3, 3)
    assert "containerID" not in told["containerStatuses"][0]


def test_a_container_that_the_runtime_has_lost_begins_again_and_its_count_goes_on() -> None:
    web = pod("web", spec("main"))
    known = {"name": "main", "containerID": "containerd://x", "restartCount": 2, "state": {"running": {}}}
    web["status"] = {"containerStatuses": [known]}
    lost = Seen(seen(box("main", State.RUNNING)).sandboxes)
    notes = Notes(begun=begun(web))
    assert decide(web, lost, notes, NOW) == Plan((Start("main", 3),))
    ended = status(web, lost, notes, "n", NOW)["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")
