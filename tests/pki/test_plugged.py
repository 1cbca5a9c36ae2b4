"""What an operator plugs in is read, or refused with the key at fault and the way out."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.support.authorities import DAY, Operator, now

from weft.pki import pem, plugged
from weft.pki.plugged import PluggedError


def refused(data: dict[str, bytes]) -> PluggedError:
    with pytest.raises(PluggedError) as caught:
        plugged.read(data, now())
    return caught.value


def test_an_intermediate_signs_and_its_chain_ends_before_the_root() -> None:
    operator = Operator()
    found = plugged.read(operator.data(), now())
    assert found.certificate == operator.intermediate
    assert found.path == (operator.intermediate,)
    assert found.roots == (operator.root,)


def test_the_layout_of_kubernetes_tls_secrets_is_read_too() -> None:
    operator = Operator()
    texts = {
        "tls.crt": pem.certificates((operator.intermediate, operator.root)),
        "tls.key": pem.key(operator.key),
        "ca.crt": pem.certificate(operator.root),
    }
    found = plugged.read({key: text.encode() for key, text in texts.items()}, now())
    assert (found.certificate, found.path) == (operator.intermediate, (operator.intermediate,))


def test_a_root_alone_is_enough() -> None:
    operator = Operator()
    root, key = pem.certificate(operator.root), pem.key(operator.root_key)
    found = plugged.read(operator.data(ca_cert=root, ca_key=key, cert_chain="", root_cert=""), now())
    assert (found.path, found.roots) == ((), (operator.root,))


def test_old_and_new_roots_together_are_trusted_and_the_one_in_use_is_first() -> None:
    operator, old = Operator("new"), Operator("old")
    found = plugged.read(operator.data(root_cert=pem.certificates((old.root, operator.root))), now())
    assert found.roots == (operator.root, old.root)


OTHER = ec.generate_private_key(ec.SECP256R1())
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (Operator().data(ca_cert=""), "ca-cert.pem", "it is missing"),
        (Operator().data(ca_key=""), "ca-key.pem", "it is missing"),
        (Operator().data(root_cert=""), "root-cert.pem", "it is missing"),
        (Operator().data(ca_cert="nothing"), "ca-cert.pem", "no certificate in PEM"),
        (Operator().data(ca_key="nothing"), "ca-key.pem", "neither an EC nor an RSA key"),
        (Operator().data(ca_key=pem.key(OTHER)), "ca-key.pem", "not the key of the certificate"),
        (Operator().data(ca_key=pem.key(SHORT)), "ca-key.pem", "1024 bits are too few"),
        (
            Operator().data(root_cert=pem.certificate(Operator("other").root)),
            "cert-chain.pem",
            "nothing here issued",
        ),
        (Operator(ends=now() - timedelta(hours=1)).data(), "ca-cert.pem", "expired"),
        (Operator(begins=now() + timedelta(hours=1)).data(), "ca-cert.pem", "not valid before"),
        (Operator(ca=False).data(), "ca-cert.pem", "is no CA"),
        (Operator(signs=False).data(), "ca-cert.pem", "may not sign certificates"),
        (Operator(path_length=0).data(), "cert-chain.pem", "allows 0 CAs below it"),
        (Operator().data(ca_crl="nothing"), "ca-crl.pem", "no X509 CRL"),
        (Operator().data(ca_crl=Operator().lists()), "ca-crl.pem", "has no list in it"),
    ],
)
def test_what_verifiers_would_refuse_is_refused_at_once(data: dict[str, bytes], field: str, reason: str) -> None:
    error = refused(data)
    assert error.field == field
    assert reason in error.reason
    assert error.hint


def test_a_root_of_the_same_name_that_issued_nothing_here_does_not_pass_for_the_one() -> None:
    operator, namesake = Operator("same"), Operator("same")
    error = refused(operator.data(root_cert=pem.certificate(namesake.root), cert_chain=""))
    assert "the chain does not reach a root" in error.reason


def test_lists_of_revoked_certificates_are_whole_and_up_to_date_or_refused() -> None:
    operator = Operator()
    assert len(plugged.read(operator.data(ca_crl=operator.lists()), now()).revoked) == 2
    lacking = refused(operator.data(ca_crl=operator.lists(of_root=False)))
    assert lacking.reason == "CN=root has no list in it"
    overdue = refused(operator.data(ca_crl=operator.lists(until=now() - DAY)))
    assert "overdue since" in overdue.reason


def test_roots_that_nothing_tells_apart_are_refused() -> None:
    clear, namesake = Operator("same"), Operator("same")
    both = pem.certificates((clear.root, namesake.root))
    assert plugged.read(clear.data(root_cert=both), now()).roots[0] == clear.root
    vague = Operator("same", identifiers=False)
    error = refused(vague.data(root_cert=pem.certificates((namesake.root, vague.root))))
    assert (error.field, "no key identifier" in error.reason) == ("root-cert.pem", True)


def test_nothing_secret_is_in_a_message() -> None:
    key = pem.key(OTHER)
    for error in (refused(Operator().data(ca_key=key)), refused(Operator().data(ca_cert=key))):
        assert not any(line in str(error) for line in key.splitlines()[1:-1])
