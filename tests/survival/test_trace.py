"""A kill does not test the disk. The kernel's own record does: fdatasync has returned before any acknowledgement is sent."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from tests.servers import Mosquitto, free_port, program
from tests.survival.process import GatewayProcess

pytestmark = pytest.mark.servers

MESSAGES = 25
PASSWORD = "a word for the test"
PUBACK = re.compile(r'(?:write|writev|sendto|sendmsg)\(.*?"@[\\]\d')
"""A packet of type 4 and its length: 0x40 is `@`, lengths are below 8."""
COMMON = """
[gateway]
data_dir = "{folder}/data"
[registry]
unknown = "register"
[web]
port = {port}
"""
ROUTE = """
filter = "fleet/+"
protocol = "json"
device_id = "{1}"
options = { time = "t", time_unit = "ms" }
"""


def traced(folder: Path, config: str, env: dict[str, str] | None = None) -> GatewayProcess:
    gateway = GatewayProcess(folder, COMMON + config, env)
    wanted = "trace=fdatasync,fsync,read,recvfrom,write,writev,sendto,sendmsg"
    # -D: the process that is started, and later stopped, is the gateway and not its observer.
    gateway.wrapper = [program("strace"), "-D", "-f", "-q", "-s", "256", "-e", wanted, "-o", str(folder / "trace")]
    return gateway


def publish(port: int, acknowledged: Callable[[], int]) -> None:
    """One message after the other, each only when the one before is acknowledged."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "van-1")
    client.username_pw_set("van-1", PASSWORD)
    client.connect("127.0.0.1", port)
    client.loop_start()
    now_ms = round(time.time() * 1000) - 60_000
    for n in range(MESSAGES):
        fix = {"mark": f"m{n:04d}m", "t": now_ms + n * 1000, "lat": 46.2 + n / 1000, "lon": 6.1}
        client.publish("fleet/van-1", json.dumps(fix), qos=1).wait_for_publish(20)
        deadline_s = time.monotonic() + 20
        while acknowledged() <= n:
            assert time.monotonic() < deadline_s, f"message {n} is not acknowledged"
            time.sleep(0.01)
    client.loop_stop()
    client.disconnect()


def order(trace: Path) -> Iterator[str]:
    """What happened, in order: `m0000m` (a message came), `sync` (it is on the disk), `ack`."""
    for line in trace.read_text(errors="replace").splitlines():
        if mark := re.search(r"m\d{4}m", line):
            if "read" in line or "recvfrom" in line:
                yield mark.group()
        elif re.search(r"(fdatasync|fsync).*= 0$", line):
            yield "sync"
        elif PUBACK.search(line):
            yield "ack"


def check(trace: Path) -> None:
    """Acknowledgements go out in the order of the messages: each belongs to the oldest that has none."""
    deadline_s = time.monotonic() + 10
    while "+++ exited with 0 +++" not in trace.read_text(errors="replace")[-200:]:
        assert time.monotonic() < deadline_s, "the trace has no good end"
        time.sleep(0.05)
    acknowledged = 0
    waiting: deque[bool] = deque()
    for what in order(trace):
        if what == "sync":
            waiting = deque(True for _ in waiting)
        elif what == "ack":
            assert waiting, "an acknowledgement of nothing"
            assert waiting.popleft(), f"acknowledgement {acknowledged} went out before the disk had its message"
            acknowledged += 1
        else:
            waiting.append(False)
    assert acknowledged == MESSAGES


def test_the_endpoint_acknowledges_what_is_on_the_disk(tmp_path: Path) -> None:
    port = free_port()
    config = f'[sources.endpoint]\nlisten = "127.0.0.1:{port}"\n'
    config += 'credentials = [{ username = "van-1", password_env = "VAN_1", device_id = "van-1" }]\n[[sources.endpoint.routes]]\n'
    with traced(tmp_path, config + ROUTE, {"VAN_1": PASSWORD}):
        publish(port, lambda: MESSAGES)
    check(tmp_path / "trace")


def test_the_client_acknowledges_what_is_on_the_disk(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        config = f'[[sources.mqtt]]\nhost = "127.0.0.1"\nport = {broker.port}\nclient_id = "traced"\n'
        with traced(tmp_path, config + "[[sources.mqtt.routes]]\n" + ROUTE) as gateway:
            gateway.wait_until("it is connected", lambda: gateway.metric("gateway_source_connected") == 1)
            publish(broker.port, lambda: round(gateway.metric("gateway_source_acknowledged_total")))
    check(tmp_path / "trace")


@pytest.mark.parametrize("told", [["m0000m", "ack"], ["m0000m", "sync", "m0001m", "ack", "ack"], ["ack"]])
def test_the_check_notices_an_early_acknowledgement(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trace").write_text("1 +++ exited with 0 +++\n")
    monkeypatch.setattr("tests.survival.test_trace.order", lambda _: told)
    with pytest.raises(AssertionError, match=r"went out before|of nothing"):
        check(tmp_path / "trace")
