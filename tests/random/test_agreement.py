"""A thousand random configurations: Envoy takes all of them, and does with requests what was simulated."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.cases import engine, in_envoy
from tests.cases.in_envoy import Answer, Place, Sidecar
from tests.random.worlds import NAMESPACE, World, rule, service, world

from weft.api.decode import decode
from weft.api.resources import RESOURCES
from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.simulate import Outcome, simulate

CONFIGURATIONS = 1000
AT_ONCE = 10
"""Worlds that share a cluster, and so an Envoy's configuration."""
PATIENCE = 5.0
BATCH = st.tuples(*(world(number) for number in range(AT_ONCE)))


class Rounds:
    """One Envoy that is given one random cluster after the other."""

    def __init__(self, here: Place) -> None:
        self.here = here
        self.count = 0
        self.proxy: Sidecar | None = None
        self.generator = Generator()


@pytest.fixture(scope="module")
def rounds() -> Iterator[Rounds]:
    with in_envoy.place() as here:
        made = Rounds(here)
        with in_envoy.sidecar(_case((), 0), here) as proxy:
            made.proxy = proxy
            yield made


@settings(
    max_examples=CONFIGURATIONS // AT_ONCE,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking takes a real Envoy minutes; the message has all that is needed
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(BATCH)
@pytest.mark.timeout(600)
def test_envoy_takes_every_configuration_and_does_what_was_simulated(
    rounds: Rounds, worlds: tuple[World, ...]
) -> None:
    rounds.count += 1
    assert rounds.proxy is not None
    case = _case(worlds, rounds.count)
    in_envoy.again(rounds.proxy, case)
    _until_current(rounds)
    resources = rounds.generator.resources(case.view)
    for each in worlds:
        for request in each.requests:
            outcome = simulate(engine.asked(request, case.view), resources)
            _agrees(rounds.proxy, request, outcome, each)
    assert rounds.proxy.management.rejected == []


def _case(worlds: tuple[World, ...], count: int) -> engine.Case:
    """The cluster of these worlds, and a service `beacon` that answers with the round's number."""
    store = Store()
    beacon = [{"directResponse": {"status": 200, "body": {"string": str(count)}}}]
    objects = [
        service("beacon", "10.97.255.1"),
        rule("VirtualService", "beacon", {"hosts": ["beacon"], "http": beacon}),
    ]
    objects += [each for one in worlds for each in one.objects]
    for each in objects:
        kind = RESOURCES.get(each["kind"])
        assert kind is None or not isinstance(found := decode(kind.shape, each), tuple), found
        store.apply(each["kind"], each)
    snapshot = store.snapshot()
    proxy = Proxy("client", NAMESPACE, "10.244.0.99")
    return engine.Case(snapshot, view(snapshot, proxy), (), {}, {}, None)


BEACON = engine.Request("GET", "http", "beacon", 80, "/", (), (), ())


def _until_current(rounds: Rounds) -> None:
    """Wait until Envoy routes by the newest configuration."""
    assert rounds.proxy is not None
    deadline = time.monotonic() + PATIENCE
    while rounds.proxy.ask(BEACON).body != str(rounds.count).encode():
        assert time.monotonic() < deadline, rounds.proxy.management.rejected
        time.sleep(0.005)


def _agrees(proxy: Sidecar, request: engine.Request, outcome: Outcome, one: World) -> None:
    deadline = time.monotonic() + PATIENCE
    while difference := _difference(proxy, request, outcome, proxy.ask(request)):
        # listeners and clusters may come into force a moment after the routes
        assert time.monotonic() < deadline, (difference, request, outcome, one.objects)
        time.sleep(0.02)


def _difference(proxy: Sidecar, request: engine.Request, outcome: Outcome, answer: Answer) -> str:
    """What Envoy did otherwise; empty if nothing."""
    expected = {name for name, share in engine.outcome_shares(outcome) if share}
    found = proxy.destination(answer)
    if found not in expected:
        return f"it went to {found}, not {sorted(expected)}"
    if outcome.location and answer.headers["location"] != [outcome.location]:
        return f"location is {answer.headers['location']}"
    if outcome.body and answer.body != outcome.body:
        return f"body is {answer.body!r}"
    if answer.seen is None:
        return ""
    share = next(each for each in outcome.shares if engine.cluster_key(each.cluster) == found)
    if answer.seen.path != outcome.path:
        return f"path is {answer.seen.path}"
    if answer.seen.headers["host"] != (share.host or outcome.host):
        return f"host is {answer.seen.headers['host']}"
    for name, value in engine.request_headers(request, outcome).items():
        if answer.seen.headers.get(name) != value.replace("%%", "%"):
            return f"{name} is {answer.seen.headers.get(name)!r}, not {value!r}"
    return ""
