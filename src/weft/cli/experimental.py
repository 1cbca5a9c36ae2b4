"""`weft x`: what istioctl has under the same name."""

import json
from typing import Any

import typer

from weft.cli import describe, proxy_tables
from weft.cli.proxy import Proxy
from weft.cli.reach import Kubeconfig, Namespace, admin, ask, find


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group, authz = typer.Typer(no_args_is_help=True), typer.Typer(no_args_is_help=True)
    group.callback()(experimental)
    authz.callback()(authorization)
    authz.command("check")(check)
    group.add_typer(authz, name="authz")
    describe.register(group)
    app.add_typer(group, name="x")
    app.add_typer(group, name="experimental", hidden=True)


def experimental() -> None:
    """Look into a mesh in ways that may change."""


def authorization() -> None:
    """See who may call a workload."""


def check(proxy: Proxy, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Show the AuthorizationPolicies that a proxy enforces, in the order in which they count."""
    from weft.xds.config_dump_policies import policy_rows

    async def question(kube: Any) -> bytes:
        return await admin(kube, await find(kube, proxy, namespace), "/config_dump")

    rows = policy_rows(json.loads(ask(kubeconfig, question)))
    if not rows:
        typer.echo("No policy is for this workload: it may be called by anybody.")
        return
    cells = [(row.action, row.name, str(row.rules)) for row in rows]
    typer.echo(proxy_tables.table(("ACTION", "AuthorizationPolicy", "RULES"), cells))
