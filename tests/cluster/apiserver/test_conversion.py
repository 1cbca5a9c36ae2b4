"""Custom resources in several versions, with a webhook between them."""

import base64
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.cluster.apiserver.servers import Home, Kubectl
from tests.cluster.apiserver.test_definitions import SPEC, STATUS, create, definition, gear
from tests.cluster.apiserver.test_webhooks import Hooks, hooks

__all__ = ["hooks"]


def _converting(conversion: dict[str, Any]) -> dict[str, Any]:
    """A definition whose v1 says `replicas` and whose v2 says `size`."""
    crd = definition(conversion=conversion)
    renamed = json.loads(json.dumps(SPEC))
    renamed["properties"]["size"] = renamed["properties"].pop("replicas")
    schema = {"type": "object", "properties": {"spec": renamed, "status": STATUS}}
    second = {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": schema}}
    crd["spec"]["versions"].append(second)
    return crd


class Converter:
    """Answers conversion reviews; with `fails` it refuses them."""

    def __init__(self) -> None:
        self.reviews, self.fails = 0, ""

    async def handle(self, request: web.Request) -> web.Response:
        review = json.loads(await request.read())
        self.reviews += 1
        wanted, found = review["request"]["desiredAPIVersion"], []
        for obj in review["request"]["objects"]:
            old, new = ("replicas", "size") if wanted.endswith("v2") else ("size", "replicas")
            if old in obj["spec"]:
                obj["spec"][new] = obj["spec"].pop(old)
            found.append({**obj, "apiVersion": wanted})
        result = {"status": "Failed", "message": self.fails} if self.fails else {"status": "Success"}
        response = {"uid": review["request"]["uid"], "convertedObjects": found, "result": result}
        return web.json_response({**review, "request": None, "response": response})


@pytest.fixture
async def converter(home: Home) -> AsyncIterator[tuple[Converter, dict[str, Any]]]:
    """The webhook, and what a definition says of it."""
    home.authority.issue("convert", "convert", sans=("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(home.path / "pki/convert.crt", home.path / "pki/convert.key")
    found, app = Converter(), web.Application()
    app.router.add_post("/convert", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    bundle = base64.b64encode((home.path / "pki/ca.crt").read_bytes()).decode()
    config = {"url": f"https://127.0.0.1:{runner.addresses[0][1]}/convert", "caBundle": bundle}
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": config}
    yield found, {"strategy": "Webhook", "webhook": webhook}
    await runner.cleanup()


async def test_a_webhook_converts_between_versions(
    kubectl: Kubectl, converter: tuple[Converter, dict[str, Any]]
) -> None:
    webhook, conversion = converter
    await create(kubectl, _converting(conversion))
    await kubectl("create", "-f", "-", stdin=gear("one", replicas=3))
    second = {"apiVersion": "example.com/v2", "kind": "Gear", "metadata": {"name": "two"}, "spec": {"size": 4}}
    await kubectl("create", "-f", "-", stdin=json.dumps(second))
    size = await kubectl("get", "gears.v2.example.com", "one", "-o", "jsonpath={.spec.size} {.apiVersion}")
    assert size.out == "3 example.com/v2"
    back = await kubectl("get", "gears.v1.example.com", "two", "-o", "jsonpath={.spec.replicas}")
    assert back.out == "4"
    before = webhook.reviews
    listed = json.loads((await kubectl("get", "gears.v2.example.com", "-o", "json")).out)
    assert [item["spec"]["size"] for item in listed["items"]] == [3, 4]
    assert webhook.reviews == before + 1
    changed = await kubectl("patch", "gears.v2.example.com", "one", "--type=merge", "-p", '{"spec":{"size":5}}')
    assert "patched" in changed.out
    assert (await kubectl("get", "gears.v1.example.com", "one", "-o", "jsonpath={.spec.replicas}")).out == "5"
    path = "/apis/example.com/v2/namespaces/default/gears?watch=true&timeoutSeconds=1"
    seen = (await kubectl("get", "--raw", path)).out
    assert [json.loads(line)["object"]["spec"].get("size") for line in seen.splitlines()] == [5, 4]
    webhook.fails = "no idea"
    refused = await kubectl("get", "gears.v2.example.com", "one", ok=False)
    assert "conversion webhook for example.com/v1, Kind=Gear failed: no idea" in refused.err
    await kubectl("get", "gears.v1.example.com", "one")
    await kubectl("delete", "crd", "gears.example.com", "--timeout=10s")


async def test_admission_sees_the_version_that_it_asks_for(
    hooks: Hooks, kubectl: Kubectl, converter: tuple[Converter, dict[str, Any]]
) -> None:
    await create(kubectl, _converting(converter[1]))
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["gears"]}
    grow = [{"op": "replace", "path": "/spec/replicas", "value": 7}]
    condition = [{"name": "small", "expression": "object.spec.replicas < 5"}]
    await hooks.add("grows", lambda _: grow, rule, matchConditions=condition)
    second = {"apiVersion": "example.com/v2", "kind": "Gear", "metadata": {"name": "two"}, "spec": {"size": 4}}
    await kubectl("create", "-f", "-", stdin=json.dumps(second))
    assert hooks.seen("grows")[0]["object"]["spec"]["replicas"] == 4
    size = await kubectl("get", "gears.v2.example.com", "two", "-o", "jsonpath={.spec.size}")
    assert size.out == "7"
