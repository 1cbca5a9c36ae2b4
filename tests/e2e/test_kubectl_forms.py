"""Every form of kubectl_forms.yaml, with several kubectls, on a live cluster; and the page that tells of them."""

import asyncio

import pytest
from tests.e2e import kubectl_forms
from tests.e2e.kubectl_forms import VERSIONS, Key, Outcome, tried
from tests.support.cluster import ROOT, Cluster

PAGE = ROOT / "docs" / "reference" / "kubectl.md"
FORMS = kubectl_forms.table()
KEYS = [
    (version, number, at)
    for version in VERSIONS
    for number, lane in enumerate(FORMS.lanes)
    if tried(version, number)
    for at in range(len(lane.forms))
]


@pytest.fixture(scope="module")
def outcomes(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[Key, Outcome]:
    return asyncio.run(kubectl_forms.run_all(cluster, FORMS, tmp_path_factory.mktemp("forms")))


def name(key: Key) -> str:
    version, number, at = key
    return f"{version} {number}.{at}: {FORMS.lanes[number].forms[at].run}"


@pytest.mark.parametrize("key", KEYS, ids=name)
@pytest.mark.timeout(600)
def test_a_form_of_kubectl_prints_what_its_users_know(outcomes: dict[Key, Outcome], key: Key) -> None:
    outcome = outcomes[key]
    assert not outcome.trouble, f"{outcome.trouble}; it says:\n{outcome.said}"


def test_the_page_tells_of_every_form_and_is_written_anew_when_they_change() -> None:
    before = PAGE.read_text() if PAGE.exists() else ""
    page = kubectl_forms.page(FORMS)
    if before != page:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page)
    assert before == page, f"{PAGE.relative_to(ROOT)} was out of date and has been rewritten: look at the change"


def test_there_are_at_least_seventy_nine_forms() -> None:
    assert sum(len(lane.forms) for lane in FORMS.lanes) >= 79
