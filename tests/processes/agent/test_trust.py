"""What istiod says to trust: used by Envoy, acknowledged then, and reason to ask for a certificate."""

from datetime import timedelta

from tests.processes.agent.conftest import Pod
from tests.processes.agent.istiod import Istiod, eventually, new_authority
from tests.processes.agent.test_sidecar import call, presented, trusted_by
from tests.support.authorities import Operator, now

from weft.adapters import keys
from weft.pki import authority, pem, plugged
from weft.pki.succession import TrustBundle, Trusted


async def test_a_root_that_istiod_tells_of_is_acknowledged_once_envoy_trusts_it(
    running: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    successor = new_authority()
    assert not await trusted_by(running, signer, successor)
    istiod.trust.put_nowait(Trusted(pem.certificates((*signer.roots, *successor.roots))))
    await eventually(lambda: istiod.trusting)
    assert istiod.trusting == [""]
    # no test's patience is needed: whoever acknowledges has it
    assert await trusted_by(running, signer, successor)
    assert len(istiod.issued) == 1


async def test_when_another_root_is_in_force_a_certificate_of_it_is_asked_for_and_the_old_root_stays(
    running: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    successor = new_authority()
    istiod.signer = successor
    istiod.trust.put_nowait(Trusted(pem.certificates((*successor.roots, *signer.roots))))
    await eventually(lambda: len(istiod.issued) == 2)
    await eventually(lambda: _shown(running, successor, istiod.issued[1]))
    assert await call(running, successor) == "hello"


async def _shown(pod: Pod, signer: authority.Authority, issued: str) -> bool:
    try:
        return pem.certificate(await presented(pod, signer)) == issued
    except OSError:
        return False


async def test_a_root_of_another_trust_domain_vouches_for_nobody_of_ours(
    running: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    partner = new_authority()
    own, far = pem.certificates(signer.roots), pem.certificates(partner.roots)
    bundles = (TrustBundle(("cluster.local",), own), TrustBundle(("far.example",), far))
    istiod.trust.put_nowait(Trusted(own, "", bundles))
    await eventually(lambda: istiod.trusting)
    assert istiod.trusting == [""]
    assert await call(running, signer) == "hello"
    # it names itself as we do, and is refused for whose certificate it has
    assert not await trusted_by(running, signer, partner)
    swapped = (TrustBundle(("cluster.local",), far), TrustBundle(("far.example",), own))
    istiod.trust.put_nowait(Trusted(own, "", swapped))
    await eventually(lambda: len(istiod.trusting) == 2)
    assert await trusted_by(running, signer, partner)
    assert len(istiod.issued) == 1


async def test_what_is_no_root_is_refused_and_changes_nothing(
    running: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    istiod.trust.put_nowait(Trusted("nonsense"))
    await eventually(lambda: istiod.trusting)
    assert "not a PEM certificate" in istiod.trusting[0]
    assert await call(running, signer) == "hello"


async def test_who_is_on_a_list_is_refused_by_envoy_and_others_are_not(pod: Pod, istiod: Istiod) -> None:
    operator = Operator()
    plain = plugged.read(operator.data(), now())
    istiod.signer = plain
    (pod.home / "root.pem").write_text(pem.certificate(operator.root))
    await istiod.stop()
    server = Istiod(plain, pod.listener, "hello")
    server.revoked = operator.lists()
    await server.start()
    try:
        pod.start(server.address)
        await eventually(pod.ready)
        assert await call(pod, plain) == "hello"
        caller = authority.issue_client(
            plain,
            (key := keys.new_key()).public_key(),
            common_name="caller",
            now=now(),
            serial=keys.new_serial(),
            lifetime=timedelta(hours=1),
        )
        shown = pem.certificates((caller, *plain.path)) + pem.key(key)
        assert await trusted_by(pod, plain, plain, shown)
        server.trust.put_nowait(Trusted(pem.certificates(plain.roots), operator.lists(caller)))
        await eventually(lambda: server.trusting)
        assert server.trusting == [""]
        assert not await trusted_by(pod, plain, plain, shown)
        assert await call(pod, plain) == "hello"
    finally:
        await server.stop()
