"""Jobs and CronJobs on a stage: how often, how long, and when it is enough."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.cluster.controllers.stage import START, Stage, template

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CRONJOBS, JOBS
from weft.cluster import schedule
from weft.cluster.controllers import job_indexes
from weft.cluster.controllers.cronjobs import CronJobs
from weft.cluster.controllers.garbage import Garbage
from weft.cluster.controllers.jobs import Jobs
from weft.cluster.controllers.objects import condition


def job(**spec: Any) -> Json:
    common = {"template": template("sh", restartPolicy="Never"), "completions": 1, "parallelism": 1}
    return {"metadata": {"name": "work"}, "spec": common | spec}


@pytest.fixture
def stage() -> Stage:
    return Stage([Jobs(), CronJobs(), Garbage()])


def running(stage: Stage) -> list[Json]:
    return [pod for pod in stage.pods() if pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}]


def end(stage: Stage, phase: str = "Succeeded", code: int = 0) -> None:
    stage.finish(running(stage)[0], phase, code)
    stage.settle()


def ended(stage: Stage) -> tuple[str, str]:
    conditions = stage.get(JOBS, "work")["status"].get("conditions") or []
    found = [entry for entry in conditions if entry["type"] in {"Complete", "Failed"}]
    return (found[0]["type"], found[0]["reason"]) if found else ("", "")


def test_a_job_runs_so_many_at_once_until_enough_have_succeeded(stage: Stage) -> None:
    stage.put(JOBS, job(completions=3, parallelism=2))
    stage.settle()
    for left in (2, 2, 1):
        assert len(running(stage)) == left
        end(stage)
    assert ended(stage) == ("Complete", "CompletionsReached")
    status = stage.get(JOBS, "work")["status"]
    assert status["succeeded"] == 3
    assert condition(stage.get(JOBS, "work"), "SuccessCriteriaMet")["status"] == "True"
    assert status["completionTime"]


def test_failures_are_tried_again_after_ten_twenty_and_forty_seconds_until_the_limit(stage: Stage) -> None:
    stage.put(JOBS, job(backoffLimit=2))
    stage.settle()
    for pause in (10, 20):
        end(stage, "Failed", 1)
        stage.wait(pause - 1)
        assert not running(stage)
        stage.wait(1)
        assert len(running(stage)) == 1
    end(stage, "Failed", 1)
    assert ended(stage) == ("Failed", "BackoffLimitExceeded")
    assert "Job has reached the specified backoff limit" in stage.events


def test_a_job_past_its_deadline_fails_and_its_pods_go(stage: Stage) -> None:
    stage.put(JOBS, job(activeDeadlineSeconds=30))
    stage.wait(29)
    assert running(stage)
    stage.wait(1)
    assert not stage.pods()
    assert ended(stage) == ("Failed", "DeadlineExceeded")


def test_a_suspended_job_has_no_pods_until_it_is_resumed(stage: Stage) -> None:
    stage.put(JOBS, job(suspend=True))
    stage.settle()
    assert not stage.pods()
    assert condition(stage.get(JOBS, "work"), "Suspended")["status"] == "True"
    stage.change(JOBS, "work", {"spec": {"suspend": False}})
    stage.settle()
    assert len(stage.pods()) == 1
    assert "Job resumed" in stage.events


def test_an_indexed_job_gives_each_pod_a_number_and_repeats_only_those_that_failed(stage: Stage) -> None:
    stage.put(JOBS, job(completions=3, parallelism=3, completionMode="Indexed"))
    stage.settle()
    by_index = {job_indexes.index_of(pod): pod for pod in stage.pods()}
    assert sorted(by_index) == [0, 1, 2]
    assert by_index[2]["spec"]["hostname"] == "work-2"
    names = [entry["name"] for entry in by_index[2]["spec"]["containers"][0]["env"]]
    assert names == ["JOB_COMPLETION_INDEX"]
    for number, phase in ((0, "Succeeded"), (1, "Failed"), (2, "Succeeded")):
        stage.finish(by_index[number], phase, 1 if phase == "Failed" else 0)
    stage.wait(11)
    assert stage.get(JOBS, "work")["status"]["completedIndexes"] == "0,2"
    assert [job_indexes.index_of(pod) for pod in running(stage)] == [1]
    end(stage)
    assert ended(stage)[0] == "Complete"
    assert stage.get(JOBS, "work")["status"]["completedIndexes"] == "0-2"


def test_a_failure_policy_can_end_the_job_at_once_or_ignore_the_failure(stage: Stage) -> None:
    rules = [
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    stage.put(JOBS, job(backoffLimit=0, podFailurePolicy={"rules": rules}))
    stage.settle()
    end(stage, "Failed", 7)
    stage.wait(11)
    assert len(running(stage)) == 1
    end(stage, "Failed", 42)
    assert ended(stage) == ("Failed", "PodFailurePolicy")


def test_a_finished_job_is_deleted_when_its_time_to_live_is_over(stage: Stage) -> None:
    stage.put(JOBS, job(ttlSecondsAfterFinished=60))
    stage.settle()
    end(stage)
    stage.wait(59)
    assert len(stage.caches[JOBS]) == 1
    stage.wait(1)
    assert len(stage.caches[JOBS]) == 0


def test_indexes_are_written_as_ranges_and_read_again() -> None:
    assert job_indexes.text([0, 1, 2, 5, 6, 9]) == "0-2,5,6,9"
    assert job_indexes.parse("0-2,5,6,9") == {0, 1, 2, 5, 6, 9}


def cron(text: str = "*/5 * * * *", **spec: Any) -> Json:
    inner = {"spec": job()["spec"]}
    return {"metadata": {"name": "tick"}, "spec": {"schedule": text, "jobTemplate": inner} | spec}


def names(stage: Stage) -> list[str]:
    return sorted(found["metadata"]["name"] for found in stage.caches[JOBS])


def test_a_cronjob_makes_a_job_named_after_each_minute_that_fits(stage: Stage) -> None:
    stage.put(CRONJOBS, cron())
    stage.wait(11 * 60)
    minute = int(START.timestamp()) // 60
    assert names(stage) == [f"tick-{minute + 5}", f"tick-{minute + 10}"]
    status = stage.get(CRONJOBS, "tick")["status"]
    assert status["lastScheduleTime"] == "2026-01-01T00:10:00Z"
    assert len(status["active"]) == 2


def test_forbid_waits_for_the_running_job_and_replace_deletes_it(stage: Stage) -> None:
    stage.put(CRONJOBS, cron(concurrencyPolicy="Forbid"))
    stage.wait(11 * 60)
    assert len(names(stage)) == 1
    stage.change(CRONJOBS, "tick", {"spec": {"concurrencyPolicy": "Replace"}})
    stage.wait(5 * 60)
    assert names(stage) == [f"tick-{int(START.timestamp()) // 60 + 15}"]


def test_only_so_many_finished_jobs_are_kept(stage: Stage) -> None:
    stage.put(CRONJOBS, cron("* * * * *", successfulJobsHistoryLimit=2))
    for _ in range(5):
        stage.wait(61)
        for pod in running(stage):
            stage.finish(pod)
        stage.settle()
    assert len(names(stage)) == 2
    assert stage.get(CRONJOBS, "tick")["status"]["lastSuccessfulTime"]


def test_a_suspended_cronjob_rests_and_a_late_one_misses_what_is_past_its_deadline(stage: Stage) -> None:
    stage.put(CRONJOBS, cron(suspend=True, startingDeadlineSeconds=100))
    stage.wait(14 * 60)
    assert not names(stage)
    stage.change(CRONJOBS, "tick", {"spec": {"suspend": False}})
    stage.settle()
    assert not names(stage)  # ten past is four minutes ago
    stage.wait(61)
    assert len(names(stage)) == 1


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("30 9 * * mon-fri", "", "2026-01-01T09:30"),
        ("0 0 1-7/2 feb *", "", "2026-02-01T00:00"),
        ("15,45 */6 * * *", "", "2026-01-01T00:15"),
        ("0 12 13 * 5", "", "2026-01-02T12:00"),  # days and weekdays both given: either is enough
        ("0 0 * * 0", "", "2026-01-04T00:00"),
        ("@monthly", "", "2026-02-01T00:00"),
        ("@every 90m", "", "2026-01-01T01:30"),
        ("0 8 * * *", "America/New_York", "2026-01-01T13:00"),
        ("0 0 29 2 *", "", "2028-02-29T00:00"),
    ],
)
def test_a_schedule_finds_its_next_time(text: str, zone: str, expected: str) -> None:
    found = schedule.parse(text, zone).after(START)
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_an_hour_that_summer_time_skips_is_passed_over() -> None:
    times = schedule.parse("30 2 * * *", "Europe/Berlin")
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert times.after(before) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


def test_a_day_that_never_comes_has_no_next_time() -> None:
    assert schedule.parse("0 0 30 2 *").after(START) is None


@pytest.mark.parametrize("text", ["* * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "x * * * *", "@never"])
def test_a_schedule_that_cannot_be_read_says_why(text: str) -> None:
    with pytest.raises(schedule.ScheduleError, match=r"\w"):
        schedule.parse(text)
