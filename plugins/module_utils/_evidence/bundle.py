# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``report``: from a run's results to a signed bundle in the store and pages in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._evidence import chain, html, junit
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.report import build, events
from ansible_collections.muster.container_dr.plugins.module_utils._evidence.signature import Signing
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._plan import application
from ansible_collections.muster.container_dr.plugins.module_utils._store.place import open_store

NAMESPACE = "muster-evidence"
_SUMS = "SHA256SUMS"


def report(request: Request) -> dict[str, Any]:
    """Build the report, write it to the folder and, signed, to the store; in check mode write nothing."""
    params = request.params
    run = str(params["run"])
    if not run or "/" in run or run.startswith("."):
        raise InvalidInput("write", f"report of run {run!r}", "a run's id is one plain name", "Correct run.")
    application.name_of(params["application"])
    ended = clock.now()
    started = clock.parse(params["started"])
    document = build(
        kind=params["kind"],
        run=run,
        application=params["application"],
        site=params["site"],
        started=started,
        ended=ended,
        incident=clock.parse(params["incident"]) if params.get("incident") else started,
        point=params.get("point"),
        validated=params.get("validated"),
        phases=params["phases"],
        error=params.get("error"),
        lock=params.get("lock"),
    )
    signing = Signing.of(params.get("signing"))
    files = bundle(document, signing if signing.key else None)
    folder = Path(params["directory"]) / run if params.get("directory") else None
    prefix = f"evidence/{run}"
    result: dict[str, Any] = {
        "changed": True,
        "msg": document["headline"],
        "verdict": document["verdict"],
        "report": document,
        "path": str(folder / "report.html") if folder else None,
        "evidence": prefix if params.get("store") else None,
        "files": sorted(files),
    }
    if request.check_mode:
        return result
    if folder:
        _write(folder, files)
    if params.get("store"):
        # The sums and their signature go last: evidence without them was cut off.
        store = open_store(params["store"])
        try:
            for name in sorted(files, key=lambda name: (name.startswith(_SUMS), name)):
                store.create(f"{prefix}/{name}", files[name])
        except MusterError as error:
            error.result.update(result)
            raise
    return result


def bundle(document: Mapping[str, Any], signing: Signing | None) -> dict[str, bytes]:
    """All files of a run's evidence by name: events, report in three forms, sums, their signature."""
    files = {
        "events.jsonl": chain.chain(events(document)),
        "report.json": json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode(errors="replace")
        + b"\n",
        "report.html": html.page(document),
        "junit.xml": junit.junit(document),
    }
    sums = "".join(f"{chain.digest(files[name])[7:]}  {name}\n" for name in sorted(files)).encode()
    files[_SUMS] = sums
    if signing:
        files[f"{_SUMS}.sig"] = signing.sign(sums, NAMESPACE)
    return files


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            beside = folder / f".{name}.{os.getpid()}"
            beside.write_bytes(data)
            beside.replace(folder / name)
    except OSError as error:
        raise InvalidInput(
            "write", f"report in {folder}", error.strerror or str(error), "Name a folder that can be written."
        ) from None
