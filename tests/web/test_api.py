"""Every route over a real socket: what it answers, what it refuses and how, and that the OpenAPI document says so."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.model import Position, seq_of
from gateway.times import parse_rfc3339, rfc3339
from tests.survival import driving
from tests.web.running import Running, fix_of, now_ms, running, until, van

PLAN: dict[str, Any] = {
    "plan_id": "tour",
    "vehicle_id": "van-0",
    "version": 3,
    "start": "2026-03-02T06:00:00Z",
    "path": {"type": "LineString", "coordinates": [[6.15, 46.2], [6.16, 46.2], [6.17, 46.2]]},
    "stops": [
        {
            "stop_id": f"s{n}", "sequence": n, "lat_deg": 46.2, "lon_deg": 6.15 + n * 0.01, "radius_m": 60.0, "service_s": 90.0,
            "window_start": f"2026-03-02T0{7 + n}:00:00Z", "window_end": f"2026-03-02T0{7 + n}:30:00Z",
            "scheduled_arrival": f"2026-03-02T0{7 + n}:10:00Z",
        }
        for n in (0, 1, 2)
    ],
}  # fmt: skip
MISTAKES: list[tuple[str, Any, str, str]] = [
    # path in the document, what is written there, where the answer says it is wrong, a word of what it says
    ("stops", [], "plan.stops", "empty"),
    ("stops", "none", "plan.stops", "array"),
    ("stops.1.lat_deg", 91, "plan.stops[1]", "not on the earth"),
    ("stops.1.lat_deg", "46.2", "plan.stops[1].lat_deg", "float"),
    ("stops.1.lat_deg", None, "plan.stops[1].lat_deg", "float"),
    ("stops.1.radius_m", 0, "plan.stops[1].radius_m", "is 0"),
    ("stops.1.service_s", -1, "plan.stops[1].service_s", "-1"),
    ("stops.1.stop_id", "s0", "plan.stops[1].stop_id", "twice"),
    ("stops.1.sequence", 0, "plan.stops[1].sequence", "predecessor"),
    ("stops.1.sequence", "1", "plan.stops[1].sequence", "int"),
    ("stops.1.window_end", "2026-03-02T07:00:00Z", "plan.stops[1].window_end", "before window_start"),
    ("stops.1.window_start", "08:00", "plan.stops[1].window_start", ""),
    ("stops.1.window_start", "2026-03-02T08:00:00", "plan.stops[1].window_start", "time zone"),
    ("stops.2.scheduled_arrival", "2026-03-02T07:00:00Z", "plan.stops[2].scheduled_arrival", "predecessor"),
    ("stops.1.colour", "red", "plan.stops[1]", "colour"),
    ("stops.1.zone", {"type": "Polygon", "coordinates": [[[200, 1], [2, 2], [3, 3]]]}, "plan.stops[1].zone", "earth"),
    ("path", {"type": "LineString", "coordinates": [[6.15, 46.2]]}, "plan.path", "1 points"),
    ("path.coordinates.1", [200, 0], "plan.path.coordinates[1]", "earth"),
    ("path.type", "Line", "plan.path.type", "Line"),
    ("start", "0001-01-01T00:00:00+14:00", "plan.start", "outside the years"),
    ("start", "tomorrow", "plan.start", "tomorrow"),
    ("plan_id", "other", "plan.plan_id", "the address says 'tour'"),
    ("vehicle_id", "ghost", "plan.vehicle_id", "no vehicle 'ghost' is known"),
    ("version", 2**70, "", ""),
    ("version", "4", "plan.version", "int"),
    ("surprise", 1, "plan", "surprise"),
]
SQUARE = [[6.0, 46.0], [6.1, 46.0], [6.1, 46.1], [6.0, 46.1], [6.0, 46.0]]
BOW_TIE = [[6.0, 46.0], [6.1, 46.1], [6.1, 46.0], [6.0, 46.1], [6.0, 46.0]]
PARAMETERS = {
    ("post", "/v1/devices/{device_id}/readmit"): {"device_id"},
    ("get", "/v1/devices/{device_id}/track"): {"device_id", "start", "end", "limit"},
    ("get", "/v1/events"): {"cursor", "type", "vehicle", "limit"},
    ("get", "/v1/stream"): {"cursor", "type", "vehicle", "positions", "Last-Event-ID"},
    ("get", "/v1/quarantine"): {"after", "limit"},
    ("get", "/v1/vehicles/{vehicle_id}"): {"vehicle_id"},
    ("put", "/v1/plans/{plan_id}"): {"plan_id"},
    ("delete", "/v1/plans/{plan_id}"): {"plan_id"},
    ("put", "/v1/devices/{device_id}"): {"device_id"},
    ("delete", "/v1/fences/{fence_id}"): {"fence_id"},
}
ROUTES = {
    "/livez": {"get"}, "/readyz": {"get"}, "/metrics": {"get"}, "/v1/page": {"get"}, "/v1/ground": {"get"},
    "/v1/vehicles": {"get"}, "/v1/vehicles/{vehicle_id}": {"get"}, "/v1/snapshot": {"get"},
    "/v1/devices": {"get"}, "/v1/devices/{device_id}": {"put"}, "/v1/devices/{device_id}/track": {"get"},
    "/v1/devices/{device_id}/readmit": {"post"},
    "/v1/plans": {"get"}, "/v1/plans/{plan_id}": {"put", "delete"}, "/v1/fences": {"get", "put"},
    "/v1/fences/{fence_id}": {"delete"}, "/v1/events": {"get"}, "/v1/stream": {"get"}, "/v1/accounting": {"get"},
    "/v1/quarantine": {"get"},
}  # fmt: skip
OPEN = {"/livez", "/readyz"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as found:
        yield found


def fence(fence_id: str, ring: list[list[float]] | None = None, **geometry: Any) -> dict[str, Any]:
    shape = geometry or {"type": "Polygon", "coordinates": [ring or SQUARE]}
    return {"type": "Feature", "id": fence_id, "properties": {}, "geometry": shape}


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(PLAN)
    *way, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    place: Any = document
    for key in way:
        place = place[key]
    place[last] = value
    return document


async def test_the_openapi_document_is_complete_and_true(served: Running) -> None:
    document = await served.get("/schema/openapi.json")
    paths = document["paths"]
    assert {path: set(operations) for path, operations in paths.items()} == ROUTES
    for path, operations in paths.items():
        for method, operation in operations.items():
            named = {p["name"] for p in operation.get("parameters", [])}
            assert named == PARAMETERS.get((method, path), set()), (method, path)
            answers = operation["responses"]
            wanted = {"200"} if path in OPEN else {"200", "401", "403"}
            wanted |= {"400"} if named or method == "put" else set()
            wanted |= {"413", "503"} if method == "put" else set()
            wanted |= {"404", "503"} if method == "delete" else set()
            assert wanted <= set(answers), (method, path)
            assert ("requestBody" in operation) == (method == "put"), (method, path)
            for status in set(answers) & {"400", "401", "403", "404", "413"}:
                told = answers[status]["content"]["application/json"]["schema"]
                assert told == {"$ref": "#/components/schemas/Refusal"}, (method, path, status)
    assert "503" in paths["/v1/stream"]["get"]["responses"]
    assert "503" in paths["/readyz"]["get"]["responses"]
    schemas = document["components"]["schemas"]
    used = {
        line.rsplit("/", 1)[1].rstrip('"},]') for line in json.dumps(document, indent=1).split("\n") if '"$ref"' in line
    }
    assert used <= set(schemas)
    assert set(schemas["Refusal"]["properties"]) == {"status_code", "detail", "problems"}


async def test_every_route_that_reads_answers_as_documented(served: Running) -> None:
    await served.drive(van(0), 5)
    await served.settle()
    for path, operations in ROUTES.items():
        if "get" not in operations or path == "/v1/stream":
            continue
        answer = await served.client.get(path.replace("{vehicle_id}", "van-0").replace("{device_id}", "van-0"))
        assert answer.status_code == 200, (path, answer.text)
        documented = (await served.get("/schema/openapi.json"))["paths"][path]["get"]["responses"]["200"]["content"]
        assert answer.headers["content-type"].split(";")[0] in documented, path
        assert "access-control-allow-origin" not in answer.headers
    assert (await served.client.get("/v1/nothing")).status_code == 404
    assert (await served.client.post("/v1/plans")).status_code == 405
    assert (await served.client.get("/")).headers["content-type"].startswith("text/html")
    asked = await served.client.options(
        "/v1/vehicles", headers={"origin": "http://x", "access-control-request-method": "GET"}
    )
    assert not [name for name in asked.headers if name.startswith("access-control")]


async def test_a_plan_with_a_mistake_is_refused_with_place_and_fix_and_the_one_before_stays(served: Running) -> None:
    assert (await served.put("/v1/plans/tour", PLAN)).status_code == 200
    before = await served.get("/v1/plans")
    assert [(p["plan_id"], p["version"], len(p["stops"])) for p in before] == [("tour", 3, 3)]
    for path, value, where, word in MISTAKES:
        answer = await served.put("/v1/plans/tour", changed(path, value))
        assert answer.status_code == 400, (path, value, answer.text)
        problems = answer.json()["problems"]
        at = [p for p in problems if p["where"].startswith(where) and word in p["what"]]
        assert at, (path, value, problems)
        assert all(p["fix"] for p in problems), problems
    swapped = copy.deepcopy(PLAN)
    for stop in swapped["stops"]:
        stop["lat_deg"], stop["lon_deg"] = stop["lon_deg"], stop["lat_deg"]
    problems = (await served.put("/v1/plans/tour", swapped)).json()["problems"]
    assert [p["where"] for p in problems] == [f"plan.stops[{n}]" for n in range(3)]
    assert "swapped" in problems[0]["what"]
    assert await served.get("/v1/plans") == before


async def test_several_mistakes_are_told_at_once(served: Running) -> None:
    document = changed("stops.0.radius_m", -5)
    document["stops"][2]["lon_deg"] = 500
    document["vehicle_id"] = "ghost"
    problems = (await served.put("/v1/plans/tour", document)).json()["problems"]
    assert {p["where"] for p in problems} == {"plan.stops[0].radius_m", "plan.stops[2]", "plan.vehicle_id"}


async def test_what_is_no_json_or_too_much_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, web="body_max_bytes = 100000") as served:
        for path in ("/v1/plans/tour", "/v1/fences", "/v1/devices/d"):
            for body in (b"", b"nonsense", b"\xff\xfe", b"[" * 50_000, b'{"a":', b"null", b"3", b"[]", b'"\\ud800"'):
                answer = await served.client.put(path, content=body)
                assert answer.status_code == 400, (path, body[:20], answer.text)
                assert answer.json()["problems"], (path, body[:20])
            assert (await served.client.put(path, content=b" " * 100_001)).status_code == 413
        answer = await served.client.put("/v1/plans/tour", json=[PLAN, {**PLAN, "plan_id": "tour-2"}])
        assert answer.json()["problems"][0]["what"] == "is an array of 2 plans"
        as_form = await served.client.put(
            "/v1/plans/tour", content=json.dumps(PLAN), headers={"content-type": "application/x-www-form-urlencoded"}
        )
        assert as_form.status_code == 200, "curl --data says so of everything"


async def test_what_was_put_is_there_at_once_and_gone_once_deleted(served: Running) -> None:
    for n in range(20):
        accepted = await served.put(f"/v1/plans/p{n}", {**PLAN, "plan_id": f"p{n}"})
        assert accepted.json()["entry_id"] == served.gateway.journal.last_entry_id
        assert f"p{n}" in [p["plan_id"] for p in await served.get("/v1/plans")]
        seen = await served.gateway.runner.ask(lambda engine: [p.plan_id for p in engine.plans()])
        assert f"p{n}" in seen, "the engine, too"
        assert (await served.client.delete(f"/v1/plans/p{n}")).status_code == 200
        assert (await served.client.delete(f"/v1/plans/p{n}")).status_code == 404
    assert await served.get("/v1/plans") == []


async def test_fences_are_put_replaced_and_removed_and_bad_ones_change_nothing(served: Running) -> None:
    collection = {
        "type": "FeatureCollection",
        "features": [fence("yard"), fence("depot", type="Point", coordinates=[6, 46])],
    }
    problems = (await served.put("/v1/fences", collection)).json()["problems"]
    assert problems[0]["where"].startswith("fences: features[1]")
    assert "radius_m" in str(problems)
    assert (await served.get("/v1/fences"))["features"] == [], "not even the good one"
    assert (await served.put("/v1/fences", fence("yard"))).status_code == 200
    for bad in (fence("yard", BOW_TIE), fence("yard", [[6, 106], *SQUARE]), {"type": "Feature"}, {}):
        answer = await served.put("/v1/fences", bad)
        assert answer.status_code == 400
        assert all(p["where"] and p["what"] for p in answer.json()["problems"])
    found = (await served.get("/v1/fences"))["features"]
    assert [(f["id"], f["geometry"]["coordinates"]) for f in found] == [("yard", [SQUARE])]
    assert (await served.put("/v1/fences", fence("other"))).status_code == 200
    assert len((await served.get("/v1/fences"))["features"]) == 2
    assert (await served.client.delete("/v1/fences/yard")).status_code == 200
    assert (await served.client.delete("/v1/fences/yard")).status_code == 404
    assert [f["id"] for f in (await served.get("/v1/fences"))["features"]] == ["other"]


async def test_a_device_that_is_registered_is_admitted_from_now_on(served: Running) -> None:
    stranger = driving.Vehicle(7, now_ms() - 60_000)
    await served.submit([fix_of(stranger)])
    (row,) = await served.get("/v1/quarantine")
    assert row["device_id"] == "van-7" or "van-7" in row["reason"]
    assert bytes.fromhex(row["raw_hex"]) == b"{}"
    assert await served.get("/v1/quarantine", after=row["id"]) == []
    assert (await served.put("/v1/devices/van-7", {"device_id": "van-7", "vehicle_id": "Seven"})).status_code == 200
    assert {"device_id": "van-7", "vehicle_id": "Seven"}.items() <= (await served.get("/v1/devices"))[-1].items()
    await served.submit([fix_of(stranger)])
    await served.settle()
    assert len(await served.get("/v1/devices/van-7/track")) == 1
    assert (await served.get("/v1/vehicles/Seven"))["device_id"] == "van-7"
    total = (await served.get("/v1/accounting"))["total"]
    assert (total["received"], total["journaled"], total["quarantined"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"device_id": "other"}, "device.device_id"),
        ({"vehicle_id": ""}, "device.vehicle_id"),
        ({"vehicle_id": 3}, "device.vehicle_id"),
        ({"valid_from": "now"}, "device.valid_from"),
        ({"valid_from": "9999-12-31T23:59:59-14:00"}, "device.valid_from"),
        ({"valid_from": "2026-03-02T00:00:00Z", "valid_to": "2026-03-01T00:00:00Z"}, "device.valid_to"),
        ({"colour": "red"}, "device"),
    ],
)
async def test_a_wrong_device_is_refused(served: Running, change: dict[str, Any], where: str) -> None:
    before = await served.get("/v1/devices")
    answer = await served.put("/v1/devices/d", {"device_id": "d", "vehicle_id": "v", **change})
    assert answer.status_code == 400
    assert [p["where"] for p in answer.json()["problems"]] == [where]
    assert await served.get("/v1/devices") == before


async def test_a_device_comes_back_as_it_was_put(served: Running) -> None:
    told = {
        "device_id": "d", "vehicle_id": "v", "valid_from": "2026-03-01T00:00:00.000Z", "valid_to": "2026-03-02T00:00:00.000Z",
        "primary": False,
    }  # fmt: skip
    assert (await served.put("/v1/devices/d", told)).status_code == 200
    assert told in await served.get("/v1/devices")


async def test_where_devices_register_themselves_a_plan_may_come_first(tmp_path: Path) -> None:
    async with running(tmp_path, unknown="register") as served:
        assert (await served.put("/v1/plans/tour", {**PLAN, "vehicle_id": "ghost"})).status_code == 200
        assert [p["vehicle_id"] for p in await served.get("/v1/plans")] == ["ghost"]


async def test_a_track_between_two_times(served: Running) -> None:
    vehicle = van(0, 100)
    fixes = [fix_of(vehicle) for _ in range(100)]
    await served.submit(fixes)
    times = [rfc3339(f.time_ms or 0) for f in fixes]
    assert [f["time"] for f in await served.get("/v1/devices/van-0/track")] == times
    got = await served.get("/v1/devices/van-0/track", start=times[10], end=times[20])
    assert [f["time"] for f in got] == times[10:20], "the end is not part of it"
    assert [f["time"] for f in await served.get("/v1/devices/van-0/track", limit=3)] == times[:3]
    shifted = f"/v1/devices/van-0/track?start={times[98][:-1]}+00:00"
    assert len((await served.client.get(shifted)).json()) == 2, "a plus that nobody escaped"
    assert await served.get("/v1/devices/nobody/track") == []
    assert got[0]["lat_deg"] == fixes[10].lat_deg
    assert parse_rfc3339(got[0]["received"]) >= (fixes[10].time_ms or 0)
    for bad in ("start=yesterday", "end=2026-03-02", "limit=0", "limit=5001", "limit=x"):
        answer = await served.client.get(f"/v1/devices/van-0/track?{bad}")
        assert (answer.status_code, answer.json()["problems"][0]["where"]) == (400, bad.partition("=")[0]), bad
    turned = await served.client.get("/v1/devices/van-0/track", params={"start": times[5], "end": times[4]})
    assert turned.status_code == 400
    for edge in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"):
        answer = await served.client.get("/v1/devices/van-0/track", params={"start": edge, "end": edge})
        assert answer.status_code in {200, 400}, answer.text


async def test_events_by_page_type_and_vehicle(served: Running) -> None:
    for number in (0, 1):
        plan = van(number, 100).plan()
        assert (await served.put(f"/v1/plans/tour-{number}", plan)).status_code == 200
        await served.drive(van(number, 100), 100)
    await served.settle()
    everything = await served.all_events()
    types = {e["type"] for e in everything}
    assert {"fleet.stop.arrived.v1", "fleet.stop.departed.v1"} <= types
    assert len({e["id"] for e in everything}) == len(everything)
    paged, cursor = [], "0"
    while page := await served.get("/v1/events", cursor=cursor, limit=3):
        paged += page["events"]
        if not page["events"]:
            break
        assert len(page["events"]) <= 3
        cursor = page["cursor"]
    assert paged == everything
    assert await served.get("/v1/events", cursor=cursor) == {"events": [], "cursor": cursor}
    arrived = [e for e in everything if e["type"] == "fleet.stop.arrived.v1"]
    assert await served.all_events(type="stop.arrived") == arrived
    assert await served.all_events(type="fleet.stop.arrived.v1") == arrived, "as the envelope spells it"
    both = [e for e in everything if e["type"] in {"fleet.stop.arrived.v1", "fleet.stop.departed.v1"}]
    assert await served.all_events(type="stop.arrived,stop.departed") == both
    assert await served.all_events(vehicle="van-1") == [e for e in everything if e["data"]["vehicle"]["id"] == "van-1"]
    assert await served.all_events(vehicle="nobody") == []
    assert await served.all_events(type="no.such") == []


@pytest.mark.parametrize(
    "cursor", ["x", "-1", "1.5", "9" * 18, "9" * 19, "9" * 5000, "١٢", "0x10", "00000000000000000000000", "%00"]
)
async def test_a_cursor_that_is_none_of_ours_is_refused(served: Running, cursor: str) -> None:
    for path in ("/v1/events", "/v1/stream"):
        answer = await served.client.get(path, params={"cursor": cursor})
        assert answer.status_code == 400
        assert answer.json()["problems"][0]["where"] == "cursor"


async def test_what_was_accepted_is_in_force_even_where_the_engine_is_busy(served: Running) -> None:
    slow = asyncio.ensure_future(served.gateway.runner.ask(lambda _: time.sleep(0.3)))
    await asyncio.sleep(0)
    accepted = (await served.put("/v1/plans/tour", PLAN)).json()
    assert slow.done()
    assert served.gateway.concluded.value >= seq_of(accepted["entry_id"], 0)


async def test_no_event_is_left_out_or_repeated_while_more_come(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading is slowed down, so that more is concluded while a page is on its way."""
    journal, events = served.gateway.journal, served.gateway.journal.events

    def slowly(*given: Any, **named: Any) -> Any:
        found = events(*given, **named)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(journal, "events", slowly)
    for number in (0, 1):
        await served.put(f"/v1/plans/tour-{number}", van(number).plan())
    driving_on = [asyncio.create_task(served.drive(van(number), 300)) for number in (0, 1)]
    paged: list[dict[str, Any]] = []
    cursor = "0"
    done = False
    while True:
        page = await served.get("/v1/events", cursor=cursor, limit=15)
        paged += page["events"]
        cursor = page["cursor"]
        if done and not page["events"]:
            break
        if not done and all(task.done() for task in driving_on):
            await served.settle()
            done = True
    assert [e["id"] for e in paged] == [e["id"] for e in await served.all_events()]
    assert len(paged) > 20
    await asyncio.gather(*driving_on)


async def test_a_vehicle_and_the_snapshot(served: Running) -> None:
    await served.put("/v1/plans/tour-0", van(0, 40).plan())
    await served.drive(van(0, 40), 40)
    await served.settle()
    fleet = await served.get("/v1/snapshot")
    one = await served.get("/v1/vehicles/van-0")
    listed = next(v for v in await served.get("/v1/vehicles") if v["vehicle_id"] == "van-0")
    for told in (one, listed, fleet["vehicles"][0]):
        assert told.pop("age_s") >= 0
    assert one == listed == fleet["vehicles"][0]
    assert one["plan_id"] == "tour-0"
    assert one["stops"][-1]["stop_id"] == "5"
    assert int(fleet["cursor"]) >= int((await served.all_events())[-1]["data"]["seq"])
    assert (await served.get("/v1/events", cursor=fleet["cursor"]))["events"] == []
    for name in ("nobody", "van-0/", "%2e%2e", "van%2F0"):
        assert (await served.client.get(f"/v1/vehicles/{name}")).status_code in {200, 404}
    assert (await served.client.get("/v1/vehicles/nobody")).json()["detail"] == "there is no vehicle 'nobody'"


async def test_how_long_a_snapshot_of_a_big_fleet_takes(tmp_path: Path) -> None:
    """Prints; a busy machine is no mistake. Meanwhile the event loop must turn."""
    async with running(tmp_path, unknown="register") as served:
        at_ms = now_ms() - 60_000
        for first in range(0, 5_000, 500):
            await served.submit(
                Position(device_id=f"v{n}", time_ms=at_ms, lat_deg=46 + n / 1e4, lon_deg=6.0, speed_mps=10.0)
                for n in range(first, first + 500)
            )
        await served.settle()
        longest_s = 0.0

        async def watch() -> None:
            nonlocal longest_s
            while True:
                before_s = time.perf_counter()
                await asyncio.sleep(0.005)
                longest_s = max(longest_s, time.perf_counter() - before_s - 0.005)

        watching = asyncio.create_task(watch())
        took_s = []
        for _ in range(5):
            before_s = time.perf_counter()
            answer = await served.client.get("/v1/snapshot")
            took_s.append(time.perf_counter() - before_s)
        watching.cancel()
        assert len(answer.json()["vehicles"]) == 5_000
        print(
            f"\n/v1/snapshot, 5,000 vehicles: {sorted(took_s)[2] * 1000:.0f} ms, {len(answer.content) / 1e6:.1f} MB, "
            f"event loop away for {longest_s * 1000:.0f} ms at most"
        )


async def test_an_answer_does_not_wait_for_a_slow_question(served: Running) -> None:
    """A question that keeps the engine busy delays who asks the engine, and nobody else."""
    slow = asyncio.ensure_future(served.gateway.runner.ask(lambda _: time.sleep(1.0)))
    await asyncio.sleep(0)
    before_s = time.perf_counter()
    for path in (
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/plans",
        "/v1/fences",
        "/v1/devices",
        "/v1/events",
        "/v1/accounting",
    ):
        assert (await served.client.get(path)).status_code == 200
    assert time.perf_counter() - before_s < 0.9
    assert not slow.done()
    await until(slow.done)
