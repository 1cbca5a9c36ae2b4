"""What a node lacks of bonds and VLANs, as a table."""

from typing import Any

import pytest

from weft.underlay.networks.ifacer import Bond, Joined, NoInterfaceError, Raised, Step, Vlan, missing
from weft.underlay.observed import Link, Observed

LINKS = (
    Link(index=1, name="lo"),
    Link(index=2, name="ens192"),
    Link(index=3, name="ens224", up=False),
    Link(index=4, name="bond0", kind="bond"),
    Link(index=5, name="ens1", master=4),
    Link(index=6, name="ens2", master=4),
    Link(index=7, name="bond0.20", kind="vlan", peer=4, up=False),
    Link(index=8, name="ens192.30", kind="bridge"),
    Link(index=9, name="ens192.40", kind="vlan", peer=3),
)
BOND = {"name": "bond0", "mode": 1}
NEW = {"name": "bond1", "mode": 4, "options": "miimon=100; xmit_hash_policy=1"}


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ({"interfaces": ["ens192"]}, ()),
        ({"interfaces": ["ens224"]}, (Raised("ens224"),)),
        (
            {"interfaces": ["ens192"], "vlanID": 100},
            (Vlan("ens192.100", "ens192", 100), Raised("ens192.100")),
        ),
        ({"interfaces": ["ens1", "ens2"], "bond": BOND}, ()),
        ({"interfaces": ["ens1", "ens2", "ens192"], "bond": BOND}, (Joined("ens192", "bond0"),)),
        ({"interfaces": ["ens1", "ens2"], "bond": BOND, "vlanID": 20}, (Raised("bond0.20"),)),
        (
            {"interfaces": ["ens192", "ens224"], "bond": NEW, "vlanID": 9},
            (
                Bond("bond1", 4, (("miimon", 100), ("xmit_hash_policy", 1))),
                Joined("ens192", "bond1"),
                Joined("ens224", "bond1"),
                Raised("bond1"),
                Vlan("bond1.9", "bond1", 9),
                Raised("bond1.9"),
            ),
        ),
    ],
)
def test_what_is_missing_is_made_in_order(config: dict[str, Any], steps: tuple[Step, ...]) -> None:
    assert missing(config, Observed(links=LINKS)) == steps


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "interfaces names none"),
        ({"interfaces": ["ens192", "ens224"]}, "several without bond"),
        ({"interfaces": ["ens9"]}, "the node has no interface ens9. Name one of ens192, ens224"),
        ({"interfaces": ["ens192"], "vlanID": 30}, "ens192.30 is there, and is a bridge instead of a vlan"),
        ({"interfaces": ["ens192"], "vlanID": 40}, "ens192.40 is a VLAN of another interface than ens192"),
        ({"interfaces": ["ens1", "ens192"], "bond": NEW}, "ens1 is part of bond0 already"),
        ({"interfaces": ["ens192", "ens224"], "bond": NEW | {"options": "fast"}}, "bond.options: 'fast'"),
        ({"interfaces": ["ens192", "ens224"], "bond": {"name": "a-very-long-bond"}}, "longer than 15"),
        ({"interfaces": "ens192"}, "configuration of plugin ifacer"),
    ],
)
def test_what_cannot_be_made_is_said(config: dict[str, Any], told: str) -> None:
    with pytest.raises(NoInterfaceError) as refused:
        missing(config, Observed(links=LINKS))
    assert told in str(refused.value)
