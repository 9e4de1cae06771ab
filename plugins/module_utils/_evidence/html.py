# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The report as one page: no script, no request to anywhere, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._evidence import explained

_STYLE = """
:root{--ink:#16202b;--soft:#5b6875;--line:#d9e0e6;--paper:#fff;--wash:#f4f7f9;
--pass:#17794a;--fail:#b3261e;--unknown:#8a5a00;--bar:#3a6ea5;--bar2:#9db8d2}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf2;--soft:#9fb0bf;--line:#2e3a46;--paper:#11181f;--wash:#19232d;
--pass:#4cc38a;--fail:#ff8a80;--unknown:#f2b84b;--bar:#6ea8dc;--bar2:#3b5a78}}
*{box-sizing:border-box}body{margin:0;background:var(--wash);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem}
header,section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:1rem 1.25rem;
margin:0 0 1rem}
h1{font-size:1.35rem;margin:.4rem 0 .2rem}h2{font-size:1.05rem;margin:0 0 .6rem}p{margin:.2rem 0}
.soft{color:var(--soft);font-size:.9rem}.verdict{display:inline-block;padding:.1rem .8rem;border-radius:999px;
color:#fff;font-weight:700;letter-spacing:.06em}.pass{background:var(--pass)}.fail,.error{background:var(--fail)}
.unknown,.warn,.skip{background:var(--unknown)}header{border-top:6px solid var(--line)}
header.is-pass{border-top-color:var(--pass)}header.is-fail{border-top-color:var(--fail)}
header.is-unknown{border-top-color:var(--unknown)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;margin-top:1rem}
.tile{background:var(--wash);border-radius:8px;padding:.7rem .9rem}
.tile b{display:block;font-size:1.6rem;line-height:1.2}
.good{color:var(--pass)}.bad{color:var(--fail)}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:.4rem .5rem;vertical-align:top;
border-top:1px solid var(--line);overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600;border-top:0;white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}.tag{color:#fff;border-radius:4px;padding:0 .4rem;font-size:.8rem;
font-weight:700}code{font:.85em ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
pre{background:var(--wash);padding:.6rem;border-radius:8px;overflow-x:auto}
.bar{display:grid;grid-template-columns:minmax(0,12rem) minmax(0,1fr) 6rem;gap:0 .75rem;align-items:center;
margin:.35rem 0;font-size:.92rem}.bar span{overflow-wrap:anywhere}.bar span:last-child{color:var(--soft)}
.bar svg{width:100%;height:1rem;display:block;background:var(--wash);border-radius:3px}
.step{border-left:4px solid var(--fail);
padding:.1rem .8rem;margin:.6rem 0}
.why{margin:.6rem 0;overflow-wrap:anywhere}.why ul{margin:.2rem 0;padding-left:1.2rem;font-size:.92rem}
.why pre{font-size:.8rem;white-space:pre-wrap;margin:.2rem 0}
.dots{list-style:none;margin:0;padding:0}.dots li{display:flex;gap:.7rem;align-items:baseline;margin:.3rem 0}
.dot{flex:none;width:.8rem;height:.8rem;border-radius:50%;border:2px solid var(--unknown)}
.dot.met{background:var(--pass);border-color:var(--pass)}.dot.missed{background:var(--fail);border-color:var(--fail)}
@media(max-width:38rem){.bar{grid-template-columns:minmax(0,1fr) auto}.bar svg{grid-row:2;grid-column:1/3}
table,tbody,tr,td{display:block}thead{display:none}
tr{border-top:1px solid var(--line);padding:.4rem 0}
td{border:0;padding:.1rem 0}td.n{text-align:left}td[data-l]:before{content:attr(data-l) ": ";color:var(--soft)}}
@media print{body{background:#fff}header,section{break-inside:avoid}}
"""
# The least part of a chart's width that can be seen
_THIN = 0.004


def page(report: Mapping[str, Any]) -> bytes:
    """The whole page, UTF-8. Every name and message is escaped; the page asks nothing of the network."""
    verdict = str(report["verdict"])
    title = f"{report['kind'].capitalize()} of {report['application']} at {report['site']}: {verdict}"
    body = [
        _header(report, verdict),
        _failures(report),
        _loss(report),
        _timeline(report),
        _checks(report["checks"]),
        _not_awaited(report["checks"]),
        _volumes(report["volumes"]),
        _images(report["images"]),
        _excluded(report["excluded"]),
        _copies(report["copies"]),
        _point(report),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_e(title)}</title><style>{_STYLE}</style></head><body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    ).encode(errors="replace")


def length(seconds: float | None) -> str:
    """``42 s``, ``3 min 20 s``, ``2 h 05 min``, ``4 d 3 h``; a dash for nothing known."""
    if seconds is None:
        return "\u2013"
    whole = round(abs(seconds))
    sign = "\u2212" if seconds < 0 and whole else ""
    if whole < 60:
        # Tenths only where they say something.
        return f"{sign}{abs(seconds):.1f} s" if abs(seconds) < 10 else f"{sign}{whole} s"
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{sign}{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{sign}{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: float | None) -> str:
    """Bytes with binary units."""
    if count is None:
        return "\u2013"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _e(text: object) -> str:
    return escape(str(text if text is not None else ""), quote=True)


def _moment(text: str | None) -> str:
    return clock.parse(text).strftime("%d %b %Y %H:%M:%S UTC") if text else "\u2013"


def _header(report: Mapping[str, Any], verdict: str) -> str:
    point = report.get("point") or {}
    origin = f" from {_e(point.get('site'))}" if point else ""
    rpo, recovery = report.get("rpo") or {}, report["recovery"]
    checks = report["checks"]
    passed = sum(check["result"] == "pass" for check in checks)
    tiles = [
        _tile("Data loss (RPO)", length(rpo.get("seconds")), rpo.get("target_seconds"), rpo.get("met")),
        _tile("Technical recovery time", length(recovery["seconds"]), recovery["target_seconds"], recovery["met"]),
        _tile("Checks passed", f"{passed} of {len(checks)}", None, passed == len(checks) if checks else None),
    ]
    return (
        f'<header class="is-{_e(verdict)}"><span class="verdict {_e(verdict)}">{_e(verdict.upper())}</span>'
        f"<h1>{_e(report['kind'].capitalize())} of {_e(report['application'])} at {_e(report['site'])}{origin}</h1>"
        f"<p>{_e(report['headline'])}</p>"
        f'<p class="soft">{_moment(report["started"])} to {_moment(report["ended"])}</p>'
        f'<div class="tiles">{"".join(tiles)}</div></header>'
    )


def _tile(name: str, value: str, target: float | None, met: bool | None) -> str:
    color = "" if met is None else (' class="good"' if met else ' class="bad"')
    note = f'<span class="soft">target {length(target)}</span>' if target is not None else ""
    return f'<div class="tile"><span class="soft">{_e(name)}</span><b{color}>{_e(value)}</b>{note}</div>'


def _failures(report: Mapping[str, Any]) -> str:
    bad = [check for check in report["checks"] if check["result"] in ("fail", "error")]
    if not bad and not report.get("error"):
        return ""
    parts = [
        f'<div class="step"><b>{_e(check["code"])} {_e(check["name"])}</b>'
        f"<p>{_e(check['msg'])}</p><p><b>Next:</b> {_e(check['next_step'] or 'see report.json')}</p>"
        f"{_why(check)}</div>"
        for check in bad
    ]
    if report.get("error"):
        parts.insert(0, f'<div class="step"><b>The run broke off</b><p>{_e(report["error"])}</p></div>')
    return f"<section><h2>What to do next</h2>{''.join(parts)}</section>"


def _why(check: Mapping[str, Any]) -> str:
    """Each thing that is not ready with its containers, events and last lines."""
    parts = []
    for one in explained.entries(check):
        facts = "".join(f"<li>{_e(fact)}</li>" for fact in explained.facts(one))
        logs = "".join(
            f'<p class="soft">{_e(title)}:</p><pre>{_e(written)}</pre>' for title, written in explained.logs(one)
        )
        parts.append(
            f'<div class="why"><b>{_e(explained.heading(one))}</b>{f"<ul>{facts}</ul>" if facts else ""}{logs}</div>'
        )
    return "".join(parts)


def _not_awaited(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = [[_e(what), _e(why)] for check in checks for what, why in explained.not_awaited(check)]
    return _table("Not waited for", [("What", False), ("Why", False)], rows)


def _loss(report: Mapping[str, Any]) -> str:
    volumes = [volume for volume in report["volumes"] if volume.get("loss_seconds") is not None]
    if not volumes:
        return ""
    longest = max(1.0, *(volume["loss_seconds"] for volume in volumes))
    target = (report.get("rpo") or {}).get("target_seconds")
    rows = [
        _bar(
            volume["name"],
            0,
            volume["loss_seconds"] / longest,
            length(volume["loss_seconds"]),
            bad=target is not None and volume["loss_seconds"] > target,
        )
        for volume in volumes
    ]
    told = report.get("rpo") or {}
    proof = (
        f"<p>The application's own data is whole up to <b>{_moment(report['data_until'])}</b>, "
        f"{_e(length(told.get('data_seconds')))} before the loss.</p>"
        if report.get("data_until")
        else ""
    )
    return (
        f"<section><h2>What would be lost</h2><p>Counted from the instant each volume's data equals to the loss at "
        f"<b>{_moment(report['incident'])}</b>.</p>{proof}"
        f"{''.join(rows)}</section>"
    )


def _timeline(report: Mapping[str, Any]) -> str:
    phases = report["phases"]
    if not phases:
        return ""
    begin = clock.parse(report["started"]).timestamp()
    end = max(clock.parse(phase["ended"]).timestamp() for phase in phases)
    whole = max(end - begin, 1.0)
    rows = [
        _bar(
            phase["name"],
            (clock.parse(phase["started"]).timestamp() - begin) / whole,
            phase["seconds"] / whole,
            length(phase["seconds"]),
            bad=not phase["ok"],
        )
        for phase in phases
    ]
    missing = report["not_measured"]
    note = f'<p class="soft">Not measured: {_e(", ".join(missing))}.</p>' if missing else ""
    return f"<section><h2>How long it took</h2>{''.join(rows)}{note}</section>"


def _bar(name: object, left: float, width: float, told: str, *, bad: bool) -> str:
    """A row of a chart; ``left`` and ``width`` are parts of its width. Text stays text, so that a phone can show it."""
    seen = min(max(width, _THIN), 1.0)
    start = min(left, 1.0 - seen)
    shape = (
        f'<rect x="{100 * start:.2f}" width="{100 * seen:.2f}" height="1" fill="var({"--fail" if bad else "--bar"})"/>'
    )
    drawn = f'<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">{shape}</svg>'
    return f'<div class="bar"><span>{_e(name)}</span>{drawn}<span>{_e(told)}</span></div>'


def _table(title: str, heads: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """``heads`` are names and whether the column is numbers; cells are markup already."""
    if not rows:
        return ""
    head = "".join(f"<th{' class=n' if number else ''}>{_e(name)}</th>" for name, number in heads)
    lines = []
    for row in rows:
        cells = zip(heads, row, strict=True)
        lines.append(
            "<tr>"
            + "".join(
                f'<td{" class=n" if number else ""} data-l="{_e(name)}">{cell}</td>' for (name, number), cell in cells
            )
            + "</tr>"
        )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<section><h2>{_e(title)}</h2>{table}</section>"


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            f'<span class="tag {_e(check["result"])}">{_e(check["result"])}</span>',
            f"<code>{_e(check['code'])}</code> {_e(check['name'])}{'' if check['required'] else ' (not required)'}",
            _e(check["msg"]),
            _e(length(check["seconds"])),
        ]
        for check in checks
    ]
    return _table("All checks", [("Result", False), ("Check", False), ("Found", False), ("Took", True)], rows)


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            _e(volume["name"]),
            _e(f"{volume.get('method')}, {volume.get('class')}"),
            _e(volume.get("files")),
            _e(size(volume.get("bytes"))),
            _moment(volume.get("consistency_point")),
            f"<code>{_e(str(volume.get('tree'))[:12])}</code>",
        ]
        for volume in volumes
    ]
    heads = [("Volume", False), ("Cut", False), ("Files", True), ("Size", True), ("Data as of", False), ("Tree", False)]
    return _table("Volumes", heads, rows)


def _images(images: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            _e(image["name"]),
            f"<code>{_e(str(image.get('digest'))[:19])}\u2026</code>",
            _e(image.get("resolved_by")),
        ]
        for image in images
    ]
    return _table("Images", [("As written", False), ("Digest", False), ("Resolved by", False)], rows)


def _excluded(excluded: Sequence[Mapping[str, Any]]) -> str:
    # Many volumes of pods are left out for one and the same reason.
    whats: dict[str, list[str]] = {}
    for entry in excluded:
        whats.setdefault(str(entry.get("why")), []).append(str(entry.get("what")))
    rows = [[_e(", ".join(what)), _e(why)] for why, what in whats.items()]
    return _table("Left out of the point", [("What", False), ("Why", False)], rows)


def _copies(rules: Sequence[Mapping[str, Any]]) -> str:
    """A filled dot is met, a red one is not, and a ring is what nobody has looked at."""
    if not rules:
        return ""
    states = {True: ("met", "met"), False: ("missed", "not met"), None: ("open", "not known")}
    rows = []
    for rule in rules:
        shape, told = states[rule["met"]]
        rows.append(
            f'<li><i class="dot {shape}" role="img" aria-label="{told}"></i><span><b>{rule["number"]}</b> '
            f'{_e(rule["name"])}: {told}. <span class="soft">{_e(rule["msg"])}</span></span></li>'
        )
    return f'<section><h2>How safe the copies are (3-2-1-1-0)</h2><ul class="dots">{"".join(rows)}</ul></section>'


def _point(report: Mapping[str, Any]) -> str:
    point = report.get("point")
    if not point:
        return ""
    consistency = point["consistency"]
    return (
        "<section><h2>The recovery point</h2>"
        f"<p><code>{_e(point['id'])}</code></p>"
        f"<p>Made at {_e(point['site'])}, epoch {_e(point['epoch'])}, equals {_moment(consistency.get('point'))} "
        f"({_e(consistency.get('mode'))}, {_e(length(consistency.get('skew_seconds')))} between the first and the last "
        f"volume), sealed {_moment(point.get('sealed'))}.</p>"
        '<p class="soft">This page, report.json, junit.xml and the event chain lie in the store and are signed. '
        "Check them without Muster:</p><pre>sha256sum -c SHA256SUMS\n"
        "ssh-keygen -Y verify -f allowed_signers -I IDENTITY -n muster-evidence -s SHA256SUMS.sig &lt; SHA256SUMS</pre>"
        "</section>"
    )
