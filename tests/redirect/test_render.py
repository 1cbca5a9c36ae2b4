from ipaddress import ip_network

from weft.redirect import render
from weft.redirect.capture import Capture
from weft.redirect.plan import plan
from weft.redirect.rules import Table

PLAN = plan(Capture(excluded_inbound_ports=(15090, 15021, 15020)))
SAVED = "*nat\n:PREROUTING ACCEPT [5:300]\n:ISTIO_INBOUND - [0:0]\n" + "\n".join(render.lines(PLAN)) + "\nCOMMIT\n"


def test_what_is_there_already_needs_no_transaction() -> None:
    assert render.transaction(PLAN, SAVED) == ""


def test_an_empty_table_gets_every_chain_and_rule() -> None:
    text = render.transaction(PLAN, "")
    assert text.count("\n-A ") == len(PLAN.rules)
    assert "-D" not in text
    assert text.endswith("COMMIT\n")


def test_a_drifted_table_is_rebuilt_and_the_rules_of_others_stay() -> None:
    drifted = SAVED.replace("-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n", "").replace(
        "COMMIT\n", "-A PREROUTING -p tcp -j KUBE-SERVICES\nCOMMIT\n"
    )
    text = render.transaction(PLAN, drifted)
    assert "-D PREROUTING -p tcp -j ISTIO_INBOUND\n" in text
    assert "KUBE-SERVICES" not in text


def test_a_removal_takes_chains_and_jumps_and_nothing_else() -> None:
    rules = "-A PREROUTING -p tcp -j ISTIO_INBOUND\n-A PREROUTING -p tcp -j KUBE-SERVICES\n"
    saved = f"*nat\n:ISTIO_INBOUND - [0:0]\n{rules}"
    assert render.removal(PLAN, saved).splitlines() == [
        "*nat",
        ":ISTIO_INBOUND - [0:0]",
        "-D PREROUTING -p tcp -j ISTIO_INBOUND",
        "-X ISTIO_INBOUND",
        "COMMIT",
    ]
    assert render.removal(PLAN, "") == ""


def test_the_explanation_gives_each_rule_its_reason() -> None:
    text = render.explanation(PLAN)
    assert "# localhost stays local\n-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n" in text
    assert text.startswith("*nat\n:ISTIO_INBOUND - [0:0]\n")
    assert text.endswith("COMMIT\n")


def test_what_another_plan_left_on_an_interface_goes_with_it() -> None:
    other = plan(
        Capture(
            excluded_interfaces=("net1",),
            virtual_interfaces=("k6t-eth0",),
            excluded_outbound_ports=(22,),
            excluded_outbound_networks=(ip_network("10.1.0.0/16"),),
        )
    )
    saved = "*nat\n:ISTIO_INBOUND - [0:0]\n" + "\n".join(render.lines(other)) + "\nCOMMIT\n"
    text = render.transaction(PLAN, saved)
    assert "-D PREROUTING -i net1 -j RETURN\n" in text
    assert "-D OUTPUT -o net1 -j RETURN\n" in text
    assert "-D PREROUTING -i k6t-eth0 -p tcp -m tcp --dport 22 -j RETURN\n" in text
    assert "-D PREROUTING -d 10.1.0.0/16 -i k6t-eth0 -j RETURN\n" in text


def test_rules_that_only_look_like_ours_stay_where_we_have_no_chains() -> None:
    saved = "*nat\n-A PREROUTING -i docker0 -j RETURN\nCOMMIT\n"
    assert "docker0" not in render.transaction(PLAN, saved)
    assert render.removal(PLAN, saved) == ""


def test_each_ip_version_has_its_own_addresses() -> None:
    both = plan(Capture(mode="TPROXY", ipv6=True))
    four, six = (render.lines(both, Table.MANGLE, version) for version in (4, 6))
    ending = "-p tcp -j TPROXY --on-port 15006 --on-ip {} --tproxy-mark 0x539/0xffffffff"
    assert f"-A ISTIO_TPROXY ! -d 127.0.0.1/32 {ending.format('0.0.0.0')}" in four
    assert f"-A ISTIO_TPROXY ! -d ::1/128 {ending.format('::')}" in six
    assert len(four) == len(six)
    assert render.lines(plan(Capture()), Table.NAT, 6) == ()
