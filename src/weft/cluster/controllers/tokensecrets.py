"""Secrets of type `kubernetes.io/service-account-token`: filled for their account, and gone with it."""

import base64
from collections.abc import Iterable
from datetime import timedelta

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import SECRETS, SERVICEACCOUNTS, Kind
from weft.cluster.apiserver import issuer
from weft.cluster.controllers.changes import Delete, Patch, Plan
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, is_going, key_of, moment

_TYPE = "kubernetes.io/service-account-token"
_PATIENCE = timedelta(seconds=10)
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


class TokenSecrets(Controller):
    """`key` signs tokens; `root_ca` is the authority's certificate as PEM."""

    name = "tokens-controller"
    watches: tuple[Kind, ...] = (SECRETS, SERVICEACCOUNTS)

    def __init__(self, key: issuer.Key, root_ca: str) -> None:
        self._key, self._root_ca = key, root_ca

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A Secret of tokens, or those of an account."""
        if kind == SECRETS:
            return [key_of(obj)] if obj.get("type") == _TYPE else []
        meta = obj["metadata"]
        held = world.of(SECRETS).within(meta["namespace"])
        return [key_of(one) for one in held if one.get("type") == _TYPE and _of(one, _NAME) == meta["name"]]

    def plan(self, key: Key, world: World) -> Plan:
        """Fill it, complete it, or delete it where its account is gone."""
        secret = world.of(SECRETS).get(key)
        if secret is None or secret.get("type") != _TYPE or is_going(secret):
            return Plan()
        account = world.of(SERVICEACCOUNTS).get((key[0], _of(secret, _NAME)))
        if account is None or _of(secret, _UID) not in {"", account["metadata"]["uid"]}:
            # the account of a new one may be there already, although its watch has not told yet
            age = world.now - moment(secret["metadata"]["creationTimestamp"])
            waits = not _of(secret, _UID) and age < _PATIENCE
            return Plan(again=_PATIENCE - age) if waits else Plan([Delete(SECRETS, secret)])
        data = secret.get("data") or {}
        wanted = {"ca.crt": _encoded(self._root_ca), "namespace": _encoded(key[0])}
        if not data.get("token"):
            wanted["token"] = _encoded(issuer.of_secret(self._key, secret, account))
        marked = _of(secret, _UID) == account["metadata"]["uid"]
        if marked and all(data.get(name) == value for name, value in wanted.items()):
            return Plan()
        marks = {_UID: account["metadata"]["uid"]}
        return Plan([Patch(SECRETS, secret, {"metadata": {"annotations": marks}, "data": wanted})])


def _of(secret: Json, name: str) -> str:
    return str((secret["metadata"].get("annotations") or {}).get(name, ""))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
