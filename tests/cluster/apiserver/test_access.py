"""Who may do what, as kubectl's users see it: roles, reviews, impersonation, escalation."""

from typing import Any

import pytest
import yaml
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters.kube.access import Access
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CLUSTERROLES
from weft.cluster.apiserver import rules, standard_roles

SAR = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


async def grant(kubectl: Kubectl, user: str, verbs: str, resources: str, *more: str) -> None:
    name = f"{user}-{abs(hash((verbs, resources, more)))}"
    await kubectl("create", "clusterrole", name, f"--verb={verbs}", f"--resource={resources}", *more)
    await kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", f"--user={user}")


async def test_an_administrator_may_do_everything(kubectl: Kubectl) -> None:
    listed = (await kubectl("auth", "can-i", "--list")).out.splitlines()
    assert ["*.*", "[]", "[]", "[*]"] in [line.split() for line in listed]
    assert ["[*]", "[]", "[*]"] in [line.split() for line in listed]
    assert (await kubectl("auth", "can-i", "get", "/metrics")).out == "yes\n"


async def test_a_user_sees_what_was_granted_and_no_more(kubectl: Kubectl) -> None:
    await grant(kubectl, "ada", "get,list", "pods,deployments.apps/scale", "--resource-name=web")
    listed = (await kubectl("auth", "can-i", "--list", "--as=ada")).out
    rows = [line.split() for line in listed.splitlines()]
    assert ["pods", "[]", "[web]", "[get", "list]"] in rows
    assert ["selfsubjectreviews.authentication.k8s.io", "[]", "[]", "[create]"] in rows
    assert (await kubectl("auth", "can-i", "get", "pods/web", "--as=ada")).out == "yes\n"
    assert (await kubectl("auth", "can-i", "get", "pods/db", "--as=ada", ok=False)).out == "no\n"
    assert (await kubectl("auth", "can-i", "get", "deploy", "--subresource=scale", "--as=ada", ok=False)).code
    found = await kubectl("auth", "can-i", "get", "deploy/web", "--subresource=scale", "--as=ada")
    assert found.out == "yes\n"


async def test_paths_that_are_no_resources_are_granted_by_their_pattern(kubectl: Kubectl) -> None:
    role = ["create", "clusterrole", "logs", "--verb=get", "--non-resource-url=/logs/*", "--non-resource-url=/x"]
    await kubectl(*role)
    await kubectl("create", "clusterrolebinding", "logs", "--clusterrole=logs", "--user=ada")
    assert (await kubectl("auth", "can-i", "get", "/logs/a", "--as=ada")).out == "yes\n"
    assert (await kubectl("auth", "can-i", "get", "/x/y", "--as=ada", ok=False)).out == "no\n"
    refused = await kubectl("get", "--raw", "/metrics", "--as=ada", ok=False)
    assert 'forbidden: User "ada" cannot get path "/metrics"' in refused.err


async def test_a_binding_to_a_role_that_is_not_there_is_told(kubectl: Kubectl) -> None:
    await kubectl("create", "rolebinding", "lost", "--role=lost", "--user=ada")
    refused = await kubectl("get", "pods", "--as=ada", ok=False)
    assert (
        'pods is forbidden: User "ada" cannot list resource "pods" in API group "" in the namespace "default":'
        ' RBAC: role.rbac.authorization.k8s.io "lost" not found' in refused.err
    )


async def test_reviews_say_by_which_binding(kube: Kube, kubectl: Kubectl) -> None:
    await kubectl("create", "rolebinding", "devs", "--clusterrole=view", "--group=devs", "-n", "kube-system")
    wanted = {"verb": "list", "resource": "pods", "namespace": "kube-system"}
    spec = {"user": "x", "groups": ["devs"], "resourceAttributes": wanted}
    status = (await kube.post(SAR, {"spec": spec}))["status"]
    assert status == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "devs/kube-system" of ClusterRole "view" to Group "devs"',
    }
    local = "/apis/authorization.k8s.io/v1/namespaces/kube-system/localsubjectaccessreviews"
    assert (await kube.post(local, {"metadata": {"namespace": "kube-system"}, "spec": spec}))["status"]["allowed"]
    elsewhere = {**spec, "resourceAttributes": {**wanted, "namespace": "default"}}
    with pytest.raises(ApiError, match="must match namespace: kube-system"):
        await kube.post(local, {"spec": elsewhere})


async def test_a_review_that_asks_nothing_is_refused(kube: Kube) -> None:
    with pytest.raises(ApiError, match="exactly one of nonResourceAttributes or resourceAttributes") as refused:
        await kube.post(SAR, {"spec": {"user": "x"}})
    assert refused.value.code == 422
    with pytest.raises(ApiError, match="at least one of user or group must be specified"):
        await kube.post(SAR, {"spec": {"resourceAttributes": {"verb": "get"}}})


async def test_acting_as_somebody_takes_the_right_to_each_part(kubectl: Kubectl) -> None:
    who = yaml.safe_load((await kubectl("auth", "whoami", "-o", "yaml", "--as=ada", "--as-group=devs")).out)
    assert who["status"]["userInfo"] == {"username": "ada", "groups": ["devs", "system:authenticated"]}
    account = "--as=system:serviceaccount:default:bot"
    who = yaml.safe_load((await kubectl("auth", "whoami", "-o", "yaml", account, "--as-uid=7")).out)
    assert who["status"]["userInfo"]["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    assert who["status"]["userInfo"]["uid"] == "7"


async def test_impersonation_is_refused_in_kubernetes_words(kubectl: Kubectl, home: Home) -> None:
    await grant(kubectl, "bob", "impersonate", "users", "--resource-name=ada")
    home.authority.issue("bob", "bob")
    pki = home.path / "pki"
    bob = [f"--client-certificate={pki}/bob.crt", f"--client-key={pki}/bob.key"]
    assert "ada" in (await kubectl(*bob, "auth", "whoami", "--as=ada")).out
    for flags, why in (
        (["--as=eve"], 'users "eve" is forbidden: User "bob" cannot impersonate resource "users" in API group ""'),
        (
            ["--as=ada", "--as-group=devs"],
            'groups "devs" is forbidden: User "bob" cannot impersonate resource "groups" in API group ""',
        ),
        (
            ["--as=ada", "--as-user-extra=scopes=all"],
            'cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io"',
        ),
        (["--as=ada", "--as-uid=1"], 'cannot impersonate resource "uids" in API group "authentication.k8s.io"'),
        (
            ["--as=system:serviceaccount:default:x"],
            'cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default"',
        ),
    ):
        refused = await kubectl(*bob, "get", "pods", *flags, ok=False)
        assert why in refused.err


async def test_nobody_grants_more_than_they_hold(kubectl: Kubectl) -> None:
    await grant(kubectl, "ada", "create,update,get,patch", "roles,rolebindings,clusterroles")
    await grant(kubectl, "ada", "get", "pods")
    await kubectl("create", "role", "reader", "--verb=get", "--resource=pods", "--as=ada")
    refused = await kubectl(
        "create", "role", "r", "--verb=delete,get,list", "--resource=pods", "--as=ada", ok=False
    )
    assert (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "ada" (groups=["system:authenticated"]) is'
        " attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "list"]}' in refused.err
    )
    bind = ["create", "rolebinding", "b", "--user=eve", "--as=ada"]
    refused = await kubectl(*bind, "--clusterrole=edit", ok=False)
    assert 'rolebindings.rbac.authorization.k8s.io "b" is forbidden: user "ada"' in refused.err
    refused = await kubectl(*bind, "--clusterrole=lost", ok=False)
    assert 'clusterroles.rbac.authorization.k8s.io "lost" not found' in refused.err
    await kubectl(*bind, "--role=reader")
    await grant(kubectl, "ada", "bind", "clusterroles", "--resource-name=edit")
    await kubectl("create", "rolebinding", "c", "--user=eve", "--as=ada", "--clusterrole=edit")
    await grant(kubectl, "ada", "escalate", "roles")
    await kubectl("create", "role", "r", "--verb=delete", "--resource=pods", "--as=ada")


async def test_a_sum_of_roles_is_an_administrators_to_make(kubectl: Kubectl) -> None:
    await grant(kubectl, "ada", "create", "clusterroles")
    args = ("create", "clusterrole", "sum", "--aggregation-rule=x=y", "--as=ada")
    refused = await kubectl(*args, ok=False)
    assert "must have cluster-admin privileges to use the aggregationRule" in refused.err


async def test_auth_reconcile_adds_what_a_role_lacks(kubectl: Kubectl) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": "default"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    assert "reconciled" in (await kubectl("auth", "reconcile", "-f", "-", stdin=yaml.safe_dump(role))).out
    wider: dict[str, Any] = {
        **role,
        "rules": [{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get"]}],
    }
    await kubectl("auth", "reconcile", "-f", "-", stdin=yaml.safe_dump(wider))
    found = yaml.safe_load((await kubectl("get", "role", "r", "-o", "yaml")).out)["rules"]
    assert not rules.uncovered(found, wider["rules"])


async def test_the_standard_roles_are_there_and_add_up(kube: Kube) -> None:
    roles = {role["metadata"]["name"]: role for role in await kube.list(CLUSTERROLES)}
    assert {"cluster-admin", "admin", "edit", "view", "system:node", "system:kube-dns"} <= set(roles)
    assert roles["edit"]["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] == "true"
    view, edit, admin = (roles[name]["rules"] for name in ("view", "edit", "admin"))
    assert not rules.uncovered(edit, view)
    assert not rules.uncovered(admin, edit)
    assert rules.uncovered(view, edit)
    secrets = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    assert rules.uncovered(view, [secrets])
    assert not rules.uncovered(edit, [secrets])


def test_a_sum_takes_each_rule_once_and_not_itself() -> None:
    roles, _ = standard_roles.standard()
    admin = next(one for one in roles if one["metadata"]["name"] == "admin")
    assert rules.aggregated(admin, roles) == admin["rules"]
    assert len({str(rule) for rule in admin["rules"]}) == len(admin["rules"])


async def test_whoami_tells_by_which_certificate(kubectl: Kubectl) -> None:
    shown = [line.split() for line in (await kubectl("auth", "whoami")).out.splitlines()]
    assert ["Groups", "[system:masters", "system:authenticated]"] in shown
    (extra,) = [row for row in shown if row[0] == "Extra:"]
    assert extra[1] == "authentication.kubernetes.io/credential-id"
    assert len(extra[2]) == len("[X509SHA256=]") + 64


async def test_who_shows_nothing_is_anonymous(home: Home, kubectl: Kubectl) -> None:
    nobody = Access(server=home.access.server, ca=home.access.ca)
    async with Kube(nobody) as client:
        with pytest.raises(ApiError, match='User "system:anonymous" cannot list resource "pods"') as refused:
            await client.call("GET", "/api/v1/namespaces/default/pods")
        assert refused.value.code == 403
        assert (await client.call("GET", "/version"))["major"] == "1"
