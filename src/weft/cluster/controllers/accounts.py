"""Secrets of type kubernetes.io/service-account-token: they get a token, and go with their ServiceAccount."""

import base64
from collections.abc import Iterable

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import SECRETS, SERVICEACCOUNTS, Kind
from weft.cluster.controllers.changes import Change, Delete, Owner, Patch, Plan, Token
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, differs, is_going, key_of

_TYPE = "kubernetes.io/service-account-token"
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


class AccountTokens(Controller):
    """Fills the Secrets that people make for tokens which do not expire. `root_ca` is PEM."""

    name = "tokens-controller"
    watches: tuple[Kind, ...] = (SECRETS, SERVICEACCOUNTS)

    def __init__(self, root_ca: str) -> None:
        self._root_ca = root_ca

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A token's Secret, or those of an account."""
        if kind == SECRETS:
            return [key_of(obj)] if obj.get("type") == _TYPE else []
        namespace, name = key_of(obj)
        held = world.of(SECRETS).within(namespace)
        return [key_of(secret) for secret in held if secret.get("type") == _TYPE and _account(secret) == name]

    def plan(self, key: Key, world: World) -> Plan:
        """Write what is missing in the Secret, or delete it where its account is gone."""
        secret = world.of(SECRETS).get(key)
        if secret is None or is_going(secret):
            return Plan()
        name, uid = _account(secret), (secret["metadata"].get("annotations") or {}).get(_UID, "")
        account = world.of(SERVICEACCOUNTS).get((key[0], name))
        if account is None or (uid and account["metadata"]["uid"] != uid):
            return Plan([Delete(SECRETS, secret, without=Owner(SERVICEACCOUNTS, key[0], name, uid))])
        changes: list[Change] = []
        certificate = {"ca.crt": _encoded(self._root_ca), "namespace": _encoded(key[0])}
        if differs(secret.get("data") or {}, certificate) or not uid:
            marked = {"annotations": {_UID: account["metadata"]["uid"]}, "uid": secret["metadata"]["uid"]}
            changes.append(Patch(SECRETS, secret, {"data": certificate, "metadata": marked}))
        elif not (secret.get("data") or {}).get("token"):
            changes.append(Token(secret, account))
        return Plan(changes)


def _account(secret: Json) -> str:
    return str((secret["metadata"].get("annotations") or {}).get(_NAME, ""))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
