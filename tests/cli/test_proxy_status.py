"""The table of `weft proxy-status`."""

from typing import Any

from weft.cli import proxy_status
from weft.cli.proxy_status import Row


def entry(proxy: str, **states: tuple[str, str]) -> dict[str, Any]:
    """`states` are pairs of nonces, sent and acknowledged."""
    pairs = {f"{kind}_sent": sent for kind, (sent, _) in states.items()}
    pairs |= {f"{kind}_acked": acked for kind, (_, acked) in states.items()}
    return {"proxy": proxy, "cluster_id": "Kubernetes", "istiod": "istiod-1", "istio_version": "0.1.0", **pairs}


def test_nonces_become_states() -> None:
    one = entry("web.shop", cluster=("3", "3"), listener=("4", "2"), endpoint=("5", "5"), route=("", ""))
    (row,) = proxy_status.rows([one | {"errors": {"endpoint": {"outbound|80||web": "bad"}}}])
    assert row == Row(
        name="web.shop",
        cluster="Kubernetes",
        cds="SYNCED",
        lds="STALE",
        eds="ERROR",
        rds="NOT SENT",
        ecds="NOT SENT",
        istiod="istiod-1",
        version="0.1.0",
    )


def test_the_table_is_laid_out_as_istioctl_does() -> None:
    states = dict.fromkeys(("cluster", "listener", "endpoint", "route"), ("1", "1"))
    table = proxy_status.render(proxy_status.rows([entry("toolbox-97948fc8.sidecar", **states), entry("a.b")]))
    head, first, second = table.splitlines()
    assert head.startswith("NAME                         CLUSTER        CDS          LDS          EDS  ")
    assert first.startswith("a.b                          Kubernetes     NOT SENT     NOT SENT     NOT ")
    assert second.startswith("toolbox-97948fc8.sidecar     Kubernetes     SYNCED       SYNCED       SYNC")
    assert [line.index(last) for line, last in ((head, "VERSION"), (first, "0.1.0"), (second, "0.1.0"))] == [
        122
    ] * 3


def test_no_proxies_give_the_header_alone() -> None:
    assert proxy_status.render([]).split() == list(proxy_status.HEADER)
