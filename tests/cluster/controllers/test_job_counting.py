"""Jobs on a stage: every pod's end counts once, whatever becomes of the pod; and what counts by index."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage
from tests.cluster.controllers.test_jobs import end, ended, job, running

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import JOBS, PODS
from weft.cluster.controllers import job_indexes as indexes
from weft.cluster.controllers.garbage import Garbage
from weft.cluster.controllers.job_tracking import FINALIZER
from weft.cluster.controllers.jobs import Jobs
from weft.cluster.controllers.objects import condition


@pytest.fixture
def stage() -> Stage:
    return Stage([Jobs(), Garbage()])


def status(stage: Stage) -> Json:
    found: Json = stage.get(JOBS, "work")["status"]
    return found


def tracked(stage: Stage) -> list[Json]:
    return [pod for pod in stage.pods() if FINALIZER in (pod["metadata"].get("finalizers") or ())]


def finish(stage: Stage, number: int, phase: str, code: int = 1) -> None:
    pod = next(pod for pod in running(stage) if indexes.index_of(pod) == number)
    stage.finish(pod, phase, 0 if phase == "Succeeded" else code)
    stage.settle()


def test_finished_pods_count_though_they_are_deleted_at_once(stage: Stage) -> None:
    stage.put(JOBS, job(completions=3, parallelism=1))
    stage.settle()
    for _ in range(3):
        (pod,) = running(stage)
        stage.delete(PODS, pod["metadata"]["name"])  # the finalizer keeps it until it is counted
        stage.finish(stage.get(PODS, pod["metadata"]["name"]))
        stage.settle()
        assert not stage.caches[PODS].get(("default", pod["metadata"]["name"]))
    assert status(stage)["succeeded"] == 3
    assert ended(stage) == ("Complete", "CompletionsReached")


def test_what_is_counted_keeps_its_number_when_its_pod_is_gone(stage: Stage) -> None:
    stage.put(JOBS, job(completions=2, parallelism=1, backoffLimit=5))
    stage.settle()
    end(stage, "Failed", 1)
    for pod in stage.pods():
        stage.delete(PODS, pod["metadata"]["name"])
    stage.wait(20)
    end(stage)
    assert (status(stage)["failed"], status(stage)["succeeded"]) == (1, 1)
    assert status(stage)["uncountedTerminatedPods"] == {}


def test_a_running_pod_that_is_deleted_counts_as_failed_and_is_replaced_after_a_pause(stage: Stage) -> None:
    stage.slow_deletion = True
    stage.put(JOBS, job())
    stage.settle()
    (pod,) = stage.pods()
    stage.delete(PODS, pod["metadata"]["name"])
    stage.settle()
    assert status(stage)["failed"] == 1
    stage.wait(10)
    assert len(running(stage)) == 2


def test_a_pod_that_counted_as_failed_when_it_was_deleted_stays_a_failure_however_it_ends(stage: Stage) -> None:
    stage.slow_deletion = True
    stage.put(JOBS, job())
    stage.settle()
    (pod,) = stage.pods()
    stage.delete(PODS, pod["metadata"]["name"])
    stage.settle()
    stage.finish(stage.get(PODS, pod["metadata"]["name"]))
    stage.wait(9)
    assert (status(stage)["failed"], running(stage)) == (1, [])
    stage.wait(1)
    assert len(running(stage)) == 1


def test_with_the_policy_failed_a_pod_is_replaced_only_once_it_has_failed(stage: Stage) -> None:
    stage.slow_deletion = True
    stage.put(JOBS, job(podReplacementPolicy="Failed"))
    stage.settle()
    (pod,) = stage.pods()
    stage.delete(PODS, pod["metadata"]["name"])
    stage.wait(60)
    assert len(stage.pods()) == 1
    assert (status(stage).get("failed"), status(stage)["terminating"]) == (None, 1)
    stage.finish(stage.get(PODS, pod["metadata"]["name"]), "Failed", 143)
    stage.wait(11)
    assert status(stage)["failed"] == 1
    assert len(running(stage)) == 1


def test_the_pause_after_a_failure_outlives_the_pod_that_failed(stage: Stage) -> None:
    stage.put(JOBS, job())
    stage.settle()
    (pod,) = stage.pods()
    stage.delete(PODS, pod["metadata"]["name"])
    stage.finish(stage.get(PODS, pod["metadata"]["name"]), "Failed", 1)
    stage.wait(9)
    assert not stage.pods()
    stage.wait(1)
    assert len(running(stage)) == 1


def test_pods_of_a_suspended_or_smaller_job_do_not_count_as_failed(stage: Stage) -> None:
    stage.slow_deletion = True
    stage.put(JOBS, job(completions=4, parallelism=3))
    stage.settle()
    stage.change(JOBS, "work", {"spec": {"parallelism": 2}})
    stage.settle()
    assert len([pod for pod in stage.pods() if not pod["metadata"].get("deletionTimestamp")]) == 2
    stage.change(JOBS, "work", {"spec": {"suspend": True}})
    stage.settle()
    assert all(pod["metadata"].get("deletionTimestamp") for pod in stage.pods())
    assert not status(stage).get("failed")


def test_pods_are_free_when_their_job_is_gone(stage: Stage) -> None:
    stage.put(JOBS, job(parallelism=2, completions=2))
    stage.settle()
    assert len(tracked(stage)) == 2
    stage.delete(JOBS, "work")
    stage.settle()
    assert not stage.pods()


def test_orphaned_pods_are_free(stage: Stage) -> None:
    stage.put(JOBS, job())
    stage.settle()
    stage.change(
        JOBS, "work", {"metadata": {"finalizers": ["orphan"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    )
    stage.settle()
    (pod,) = stage.pods()
    assert not pod["metadata"].get("finalizers")
    assert not pod["metadata"].get("ownerReferences")


def test_a_job_of_another_manager_is_left_alone(stage: Stage) -> None:
    stage.put(JOBS, job(managedBy="example.org/kueue"))
    stage.settle()
    assert not stage.pods()
    assert not stage.get(JOBS, "work").get("status")


def by_index(**spec: Any) -> Json:
    common = {"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1}
    return job(**common | spec)


def test_each_index_has_its_own_tries_and_its_own_pauses(stage: Stage) -> None:
    stage.put(JOBS, by_index())
    stage.settle()
    finish(stage, 1, "Failed")
    failed = next(pod for pod in stage.pods() if indexes.index_of(pod) == 1)
    assert FINALIZER in failed["metadata"]["finalizers"]  # it tells its successor how often the index has failed
    stage.wait(10)
    again = next(pod for pod in running(stage) if indexes.index_of(pod) == 1)
    assert again["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    assert len(running(stage)) == 3
    finish(stage, 1, "Failed")
    stage.wait(60)
    assert status(stage)["failedIndexes"] == "1"
    for number in (0, 2):
        finish(stage, number, "Succeeded")
    assert ended(stage) == ("Failed", "FailedIndexes")
    assert (status(stage)["completedIndexes"], status(stage)["failed"]) == ("0,2", 2)
    assert not tracked(stage)


def test_too_many_failed_indexes_end_the_job_and_its_other_pods(stage: Stage) -> None:
    stage.put(JOBS, by_index(backoffLimitPerIndex=0, maxFailedIndexes=1))
    stage.settle()
    finish(stage, 0, "Failed")
    assert ended(stage) == ("", "")
    finish(stage, 1, "Failed")
    assert ended(stage) == ("Failed", "MaxFailedIndexesExceeded")
    assert not running(stage)


def test_a_failure_policy_can_give_up_one_index_alone(stage: Stage) -> None:
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
    stage.put(JOBS, by_index(backoffLimitPerIndex=5, podFailurePolicy={"rules": [rule]}))
    stage.settle()
    finish(stage, 2, "Failed", 42)
    assert status(stage)["failedIndexes"] == "2"
    assert sorted(map(indexes.index_of, running(stage))) == [0, 1]


def test_a_disruption_can_be_ignored_or_counted_by_the_pods_conditions(stage: Stage) -> None:
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    stage.put(JOBS, job(backoffLimit=0, podFailurePolicy={"rules": [rule]}))
    stage.settle()
    (pod,) = running(stage)
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    stage.put(PODS, pod | {"status": {"phase": "Failed", "conditions": disrupted}})
    stage.wait(15)
    assert ended(stage) == ("", "")
    assert not status(stage).get("failed")
    assert len(running(stage)) == 1


def test_a_success_policy_ends_the_job_with_the_indexes_that_matter(stage: Stage) -> None:
    rule = {"succeededIndexes": "0-1", "succeededCount": 1}
    stage.put(JOBS, by_index(backoffLimitPerIndex=None, successPolicy={"rules": [rule]}))
    stage.settle()
    finish(stage, 2, "Succeeded")
    assert ended(stage) == ("", "")
    finish(stage, 1, "Succeeded")
    assert ended(stage) == ("Complete", "SuccessPolicy")
    held = condition(stage.get(JOBS, "work"), "SuccessCriteriaMet")
    assert held["message"] == "Matched rules at index 0"
    assert not running(stage)
    assert not status(stage).get("failed")


def test_an_indexed_job_shrinks_and_grows_with_its_completions(stage: Stage) -> None:
    stage.put(JOBS, by_index(backoffLimitPerIndex=None))
    stage.settle()
    stage.change(JOBS, "work", {"spec": {"completions": 2, "parallelism": 2}})
    stage.settle()
    assert sorted(map(indexes.index_of, running(stage))) == [0, 1]
    stage.change(JOBS, "work", {"spec": {"completions": 4, "parallelism": 4}})
    stage.settle()
    assert sorted(map(indexes.index_of, running(stage))) == [0, 1, 2, 3]
