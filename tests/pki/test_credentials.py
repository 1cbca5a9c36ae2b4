import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from tests.support.identities import Authority

from weft.pki import credentials
from weft.pki.credentials import CredentialError

ONE = Authority().serve("one.example")


def pem(key: Any, password: str = "") -> str:
    how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    text: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return text.decode()


def encoded(**data: str) -> dict[str, str]:
    return {name.replace("_", "."): base64.b64encode(value.encode()).decode() for name, value in data.items()}


def test_the_generic_keys_go_before_those_of_kind_tls() -> None:
    other = Authority().serve("two.example")
    data = encoded(tls_crt=other.chain, tls_key=other.key, cert=ONE.chain, key=ONE.key)
    assert credentials.pair_of(data) == credentials.Pair(ONE.chain, ONE.key)


def test_an_empty_entry_is_none() -> None:
    data = encoded(cert="", key="", tls_crt=ONE.chain, tls_key=ONE.key)
    assert credentials.pair_of(data).chain == ONE.chain


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (pem(ec.generate_private_key(ec.SECP256R1()), "secret"), "encrypted"),
        (pem(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "curve is secp256k1"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "neither an EC nor an RSA key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "not the certificate's"),
        ("", "neither an EC nor an RSA key"),
    ],
)
def test_keys_that_envoy_would_refuse_are_refused_before_it(key: str, reason: str) -> None:
    with pytest.raises(CredentialError, match=reason):
        credentials.pair(ONE.chain, key)


def test_a_key_is_in_no_representation() -> None:
    assert ONE.key not in repr(credentials.pair(ONE.chain, ONE.key))


def test_entries_that_are_no_base64_are_named() -> None:
    with pytest.raises(CredentialError, match=r"tls\.crt is not base64"):
        credentials.pair_of({"tls.crt": "?", "tls.key": "?"})


@given(
    st.dictionaries(st.sampled_from(["cert", "key", "tls.crt", "tls.key", "cacert", "ca.crt", "crl"]), st.text())
)
def test_whatever_a_secret_holds_there_is_an_answer(data: dict[str, str]) -> None:
    for read in (credentials.pair_of, credentials.roots_of):
        with pytest.raises(CredentialError):
            read(data)
