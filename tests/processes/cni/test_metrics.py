import pytest

from weft.processes.cni.metrics import Registry


def test_metrics_are_written_as_prometheus_reads_them() -> None:
    registry = Registry()
    installs = registry.counter("installs_total", "Installs.", "result")
    installs.add("SUCCESS")
    installs.add("SUCCESS")
    installs.add('a "bad"\nname')
    took = registry.histogram("took_seconds", "How long.", "command")
    took.took(0.003, "ADD")
    took.took(60, "ADD")
    registry.gauge("ready", "Whether.").value = 1
    lines = registry.text().splitlines()
    assert 'installs_total{result="SUCCESS"} 2' in lines
    assert 'installs_total{result="a \\"bad\\"\\nname"} 1' in lines
    assert 'took_seconds_bucket{command="ADD",le="0.0025"} 0' in lines
    assert 'took_seconds_bucket{command="ADD",le="0.005"} 1' in lines
    assert 'took_seconds_bucket{command="ADD",le="+Inf"} 2' in lines
    assert 'took_seconds_count{command="ADD"} 2' in lines
    assert "ready 1" in lines


def test_a_name_is_given_once() -> None:
    registry = Registry()
    registry.counter("one", "One.")
    with pytest.raises(ValueError, match="one"):
        registry.gauge("one", "Another.")
