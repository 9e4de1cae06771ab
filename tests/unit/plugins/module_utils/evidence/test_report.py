# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._evidence import report
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.html import length, page, size
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.junit import junit

START = datetime(2026, 1, 31, 4, 0, tzinfo=timezone.utc)
POINT = {
    "id": "20260131T035500Z-shop-abcd",
    "site": "east",
    "epoch": 1,
    "sealed": "2026-01-31T03:56:00Z",
    "consistency": {"point": "2026-01-31T03:55:00Z", "skew_seconds": 2.0, "mode": "per_volume"},
    "volumes": [
        {
            "name": "shop/data",
            "class": "fast",
            "method": "snapshot",
            "files": 3,
            "bytes": 2048,
            "consistency_point": "2026-01-31T03:55:00Z",
            "tree": "ab" * 32,
            "complete": True,
        }
    ],
    "images": [{"name": "shop:1", "digest": "sha256:" + "a" * 64, "resolved_by": "image_id"}],
    "excluded": [],
}


def check(code: str = "A01", result: str = "pass", **more: Any) -> dict[str, Any]:
    return {
        "code": code,
        "name": "pods are ready",
        "result": result,
        "required": True,
        "seconds": 1.0,
        "msg": "found",
        "next_step": "look",
        "details": {},
        **more,
    }


def make(checks: list[dict[str, Any]] | None, verdict: str = "pass", **more: Any) -> dict[str, Any]:
    validated = None
    if checks is not None:
        rpo = {"seconds": 300.0, "target_seconds": 900.0, "met": True, "data_seconds": 301.0}
        validated = {"verdict": verdict, "checks": checks, "rpo": rpo, "data_until": "2026-01-31T03:54:59Z"}
    phases = [
        {"name": "restore volumes", "result": {"started": "2026-01-31T04:00:01Z", "seconds": 20.0}},
        {"name": "wait and check", "result": {"started": "2026-01-31T04:00:22Z", "seconds": 18.0}},
    ]
    arguments: dict[str, Any] = {
        "kind": "drill",
        "run": "drill-1",
        "application": {"name": "shop", "targets": {"rpo": "15m", "rto": "30m"}},
        "site": "west",
        "started": START,
        "ended": START + timedelta(seconds=50),
        "incident": START,
        "point": POINT,
        "validated": validated,
        "phases": phases,
        "error": None,
    }
    return report.build(**{**arguments, **more})


def test_recovery_time_ends_when_the_checks_have_passed():
    made = make([check()])
    assert made["recovery"] == {"seconds": 40.0, "target_seconds": 1800.0, "met": True, "scope": "technical"}
    assert made["volumes"][0]["loss_seconds"] == 300.0


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (make(None), "unknown"),
        (make(None, error="no point"), "fail"),
        (make([check()], error="tore apart"), "fail"),
        (make([check(result="fail")], "fail"), "fail"),
    ],
    ids=["nothing checked", "broke off before", "broke off after", "failed check"],
)
def test_no_recovery_time_is_claimed_without_a_pass(made, verdict):
    assert made["verdict"] == verdict
    assert made["recovery"]["seconds"] is None


def test_a_drill_says_what_it_did_not_measure():
    assert "switch traffic" in make([check()])["not_measured"]


def test_the_page_escapes_every_name_and_asks_nothing_of_the_network():
    evil = '<script src="http://x.invalid/"></script>&"'
    made = make(
        [check(msg=evil, name=evil, result="fail")], "fail", application={"name": evil, "targets": {}}, error=evil
    )
    made["volumes"][0]["name"] = evil
    made["images"][0]["name"] = evil
    made["excluded"] = [{"what": evil, "why": evil}]
    text = page(made).decode()
    assert "<script" not in text
    assert not re.search(r"(?:src|href)\s*=\s*[\"']", text)
    assert "url(" not in text


def test_what_is_left_out_for_one_reason_is_one_row():
    made = make([check()])
    made["excluded"] = [{"what": f"shop/{name}/tmp", "why": "it ends with the pod"} for name in ("api", "web")]
    assert page(made).decode().count("it ends with the pod") == 1
    assert "shop/api/tmp, shop/web/tmp" in page(made).decode()


def test_charts_name_all_in_full_and_stay_inside():
    made = make([check()])
    name = "a-namespace-with-a-long-name/" + "claim-" * 20
    made["volumes"][0]["name"] = name
    # Over before it could be seen, at the very end
    made["phases"].append(
        {**made["phases"][-1], "name": "last", "started": made["phases"][-1]["ended"], "seconds": 0.0}
    )
    text = page(made).decode()
    assert f"<span>{name}</span>" in text
    bars = [(float(left), float(width)) for left, width in re.findall(r'<rect x="([\d.]+)" width="([\d.]+)"', text)]
    assert len(bars) == len(made["volumes"]) + len(made["phases"])
    assert all(left >= 0 and width > 0 and left + width <= 100.01 for left, width in bars)


@pytest.mark.parametrize(
    ("site", "verdict", "dots"),
    [
        ("west", "pass", ["met", "met", "met", "open", "met"]),
        ("west", "fail", ["met", "met", "met", "open", "missed"]),
        ("west", "unknown", ["met", "met", "met", "open", "open"]),
        ("east", "pass", ["open", "met", "open", "open", "met"]),
    ],
)
def test_the_rule_of_3_2_1_1_0_counts_only_what_was_seen(site, verdict, dots):
    made = make([check()], verdict, site=site)
    assert [rule["number"] for rule in made["copies"]] == [3, 2, 1, 1, 0]
    assert re.findall(r'<i class="dot (\w+)"', page(made).decode()) == dots


@pytest.mark.parametrize(
    ("lock", "dot", "text"),
    [
        (None, "open", "nobody has looked"),
        ({"mode": "compliance", "until": "2026-03-01T00:00:00.000Z"}, "met", "cannot be deleted before 2026-03-01"),
        ({"mode": "governance", "until": "2026-03-01T00:00:00.000Z"}, "met", "but by those who may end it early"),
        ({"mode": "compliance", "until": "2026-01-31T04:00:00.000Z"}, "missed", "west ended at 2026-01-31T04:00:00"),
    ],
)
def test_a_copy_is_immutable_for_as_long_as_its_recorded_lock_lasts(lock, dot, text):
    made = make([check()], site="west", lock=lock)
    rule = next(rule for rule in made["copies"] if rule["name"].startswith("immutable"))
    assert text in rule["msg"]
    assert re.findall(r'<i class="dot (\w+)"', page(made).decode())[3] == dot


def test_without_a_point_there_are_no_copies_to_count():
    made = make(None, point=None)
    assert made["copies"] == []
    assert "3-2-1-1-0" not in page(made).decode()


def test_failed_checks_come_with_their_next_step():
    text = page(make([check(result="fail", next_step="pull the lever")], "fail")).decode()
    assert "pull the lever" in text
    assert text.index("pull the lever") < text.index("All checks")


EXPLAINED = {
    "waiting": {"Deployment shop/web": "0 of 1 ready"},
    "explained": [
        {
            "kind": "Deployment",
            "namespace": "shop",
            "name": "web",
            "state": "failed",
            "reason": "0 of 1 ready",
            "events": [
                {
                    "type": "Warning",
                    "reason": "BackOff",
                    "message": "back-off <b>",
                    "about": "Pod web-1",
                    "count": 4,
                    "last_seen": "2026-01-31T04:05:06Z",
                }
            ],
            "containers": [
                {
                    "pod": "web-1",
                    "name": "web",
                    "state": "waiting",
                    "reason": "CrashLoopBackOff",
                    "message": "",
                    "exit_code": 1,
                    "restarts": 3,
                }
            ],
            "logs": [{"pod": "web-1", "container": "web", "previous": True, "text": "FATAL: <script>\nthe end"}],
        }
    ],
    "not_waited_for": {"Job shop/nightly": "suspended"},
    "ignored": ["Job shop/import"],
    "unseen": {"things.example.com": "forbidden"},
}


def test_the_page_says_why_something_is_not_ready():
    text = page(make([check(result="fail", details=EXPLAINED)], "fail")).decode()
    assert "<b>Deployment shop/web (failed): 0 of 1 ready</b>" in text
    assert "Warning BackOff (Pod web-1, 4 times, 2026-01-31T04:05:06Z): back-off &lt;b&gt;" in text
    assert "Container web of pod web-1: waiting, CrashLoopBackOff, exit code 1, restarted 3 times" in text
    assert "<pre>FATAL: &lt;script&gt;\nthe end</pre>" in text
    assert text.index("FATAL") < text.index("All checks")
    assert "<script" not in text


def test_the_page_names_what_nobody_waited_for():
    text = page(make([check(details=EXPLAINED)])).decode()
    assert "Not waited for" in text and "Job shop/nightly" in text and "Job shop/import" in text
    assert "could not be listed: forbidden" in text
    assert "Not waited for" not in page(make([check()])).decode()


def test_junit_says_why_something_is_not_ready():
    suite = ElementTree.fromstring(junit(make([check(result="fail", details=EXPLAINED)], "fail")))
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert failure.text.splitlines() == [
        "look",
        "",
        "Deployment shop/web (failed): 0 of 1 ready",
        "  Container web of pod web-1: waiting, CrashLoopBackOff, exit code 1, restarted 3 times",
        "  Warning BackOff (Pod web-1, 4 times, 2026-01-31T04:05:06Z): back-off <b>",
        "  Container web of pod web-1 wrote last before it began anew:",
        "    FATAL: <script>",
        "    the end",
    ]


def test_junit_counts_failures_and_survives_control_characters():
    made = make([check("A01"), check("D02", "fail", msg="bad\x00\x1b[31m"), check("I01", "error")], "fail")
    suite = ElementTree.fromstring(junit(made))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")


def test_junit_has_a_case_for_a_run_that_broke_off():
    suite = ElementTree.fromstring(junit(make(None, error="gone")))
    assert suite.get("errors") == "1"


def test_the_events_end_with_the_verdict():
    events = report.events(make([check()]))
    assert events[-1]["verdict"] == "pass"
    assert {"name": "restore volumes", "event": "phase_ended"}.items() <= events[3].items()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (42, "42 s"),
        (59.7, "1 min 00 s"),
        (3600, "1 h 00 min"),
        (100000, "1 d 3 h"),
        (None, "\u2013"),
    ],
)
def test_lengths_read_as_people_say_them(seconds, text):
    assert length(seconds) == text


def test_sizes_are_binary():
    assert (size(10), size(2048), size(5 * 1024**4), size(None)) == ("10 B", "2.0 KiB", "5.0 TiB", "\u2013")
