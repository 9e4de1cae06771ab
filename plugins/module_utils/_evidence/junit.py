# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The report as JUnit XML, which CI servers and AWX-side tools read: one test case per check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from ansible_collections.muster.container_dr.plugins.module_utils._evidence import explained

# XML 1.0 knows no escape for these, and a command's output may hold any of them.
_FORBIDDEN = re.compile("[^\\t\\n\\r\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_TAGS = {"fail": "failure", "error": "error", "skip": "skipped"}


def junit(report: Mapping[str, Any]) -> bytes:
    """UTF-8 XML. A run that broke off has a test case of its own, so that no reader takes silence for success."""
    checks = list(report["checks"])
    if report.get("error"):
        checks.insert(
            0,
            {
                "code": "R00",
                "name": f"the {report['kind']} ran to its end",
                "result": "error",
                "msg": report["error"],
                "next_step": "",
                "seconds": 0.0,
            },
        )
    suite = ElementTree.Element(
        "testsuite",
        name=f"muster {report['kind']} {report['application']}",
        tests=str(len(checks)),
        failures=str(sum(check["result"] == "fail" for check in checks)),
        errors=str(sum(check["result"] == "error" for check in checks)),
        skipped=str(sum(check["result"] == "skip" for check in checks)),
        timestamp=str(report["started"]),
    )
    for check in checks:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"{report['application']}.{report['site']}",
            name=_clean(f"{check['code']} {check['name']}"),
            time=f"{check['seconds']:.3f}",
        )
        tag = _TAGS.get(check["result"])
        if tag:
            entry = ElementTree.SubElement(case, tag, message=_clean(check["msg"]))
            parts = (check.get("next_step"), explained.text(check))
            entry.text = _clean("\n\n".join(part for part in parts if part))
        else:
            ElementTree.SubElement(case, "system-out").text = _clean(check["msg"])
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _clean(text: object) -> str:
    return _FORBIDDEN.sub("\ufffd", str(text))
