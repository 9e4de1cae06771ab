# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The verb of ``k8s_restore``: a point's objects out of the repository into a cluster, and drill bubbles away again."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Incomplete,
    InvalidInput,
    MusterError,
    NotFound,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import without_empty
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    bubble,
    dry_run,
    execute,
    hook_output,
    image_check,
    image_names,
    layout,
    mapping,
    plan,
    pull_secret,
    report,
    restore_hooks,
    snapshot,
    staging,
    step,
    transform_options,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.policy import Policies
from ansible_collections.muster.container_dr.plugins.module_utils._module import Request
from ansible_collections.muster.container_dr.plugins.module_utils._restic.repository import Repository

_SHOWN = 5
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def restore(request: Request, missing_images: image_check.Missing) -> dict[str, Any]:
    """Plan, and unless in check mode execute; or remove a bubble."""
    params = request.params
    cluster = Cluster.connect(params, workers=params["workers"] + 1)
    _check_names(params)
    if params["state"] == "absent":
        return _remove(request, cluster)
    # Before any work: a cluster that does not answer is the commonest trouble.
    cluster.version()
    with _reading(params) as point:
        wishes = _wishes(params, point.snapshot)
        made = plan.make(cluster, point.objects, wishes, workers=params["workers"])
    for text in [*made.warnings, *_check_images(params, made, missing_images)]:
        request.warn(text)
    hooks = restore_hooks.tasks(wishes.rules.hooks, made.steps)
    for name in restore_hooks.unused(wishes.rules.hooks, made.steps):
        request.warn(f"Restore hook {name} is for none of the objects.")
    if request.check_mode:
        dry_run.ask_about_creates(cluster, made, workers=params["workers"])
    # What a run changes is shown as it was planned.
    shown = {"diff": {"prepared": report.differences(made.steps)}} if request.diff else {}
    if request.check_mode:
        return {**_result(made, wishes, planned=True), "hooks": [task.record() for task in hooks], **shown}
    records: list[JSON] = []
    failures: list[str] = []
    try:
        ended = execute.execute(
            cluster,
            made,
            workers=params["workers"],
            fail_fast=params["fail_fast"],
            progress=request.progress,
            warn=request.warn,
        )
        if ended and not (params["fail_fast"] and any(one.failed for one in made.steps)):
            secrets = hook_output.secrets_in(params)
            records, failures = restore_hooks.run(cluster, hooks, secrets=secrets, progress=request.progress)
        else:
            records = restore_hooks.left_out(hooks, "not run: the restore has ended at a failure (fail_fast)")
    except MusterError as error:
        error.result = {**_result(made, wishes, planned=False), "hooks": records, **shown, **error.result}
        raise
    for record in records:
        if record["ok"] is not True and not failures:
            request.warn(f"Restore hook {record['name']} for {record['workload']}: {record['msg']}")
    result = {**_result(made, wishes, planned=False), "hooks": records, **shown}
    if failures:
        result["status"] = "partial"
    if result["status"] == "partial" and not params["allow_partial"]:
        raise _incomplete(made, wishes, result, failures)
    return result


def _check_names(params: Mapping[str, Any]) -> None:
    """What becomes a label or a namespace must be one, before anything is made from it."""
    for option in ("run", "application"):
        value = params[option]
        if value and not _LABEL.fullmatch(str(value)):
            raise InvalidInput(
                "use",
                f"{option} {value!r}",
                "it cannot be the value of a label",
                "Use at most 63 letters, digits, dots, dashes and underscores, with a letter or digit at both ends.",
            )
    for target in (params["namespace_mapping"] or {}).values():
        if not _NAMESPACE.fullmatch(str(target)):
            raise InvalidInput(
                "restore into",
                f"namespace {target!r}",
                "no namespace can have that name",
                "Use at most 63 lower-case letters, digits and dashes.",
            )


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Point:
    """The captured objects and the id of their snapshot."""

    objects: layout.Objects
    snapshot: str


@contextlib.contextmanager
def _reading(params: Mapping[str, Any]) -> Iterator[_Point]:
    """The captured objects, in files that are gone after the block."""
    repository = Repository.open(params["repository"])
    wanted = str(params["snapshot"])
    candidates = repository.snapshots()
    matching = [one for one in candidates if one.tree == wanted] or [
        one for one in candidates if one.id.startswith(wanted) or (one.original or "").startswith(wanted)
    ]
    if not matching or len(wanted) < 8:
        raise NotFound(
            "find",
            f"snapshot or tree {wanted}",
            f"the repository {params['repository']['url']} has no such one",
            "Give the id of the point's objects, at least 8 digits; was the repository replicated to here?",
        )
    chosen = max(matching, key=lambda one: one.time)
    with staging.folder() as stage:
        target = stage / "restored"
        target.mkdir(mode=0o700)
        repository.restore(chosen.id, target)
        point = _Point(layout.Objects(snapshot.root_of(target)), chosen.id)
        if next(iter(point.objects), None) is None:
            raise InvalidInput(
                "restore",
                f"snapshot {chosen.id[:8]}",
                "it holds no captured objects",
                "Give the snapshot of a point's objects.",
            )
        yield point


def _wishes(params: Mapping[str, Any], found: str) -> plan.Wishes:
    names = {str(source): str(target) for source, target in (params["namespace_mapping"] or {}).items()}
    shut: bubble.Bubble | None = None
    application = str(params["application"] or "")
    if params["isolate"]:
        shut = bubble.Bubble(str(params["run"]), application, params["suspend_cronjobs"])
    registry = without_empty(params["registry"])
    auths = pull_secret.logins(registry)
    images = image_names.ImageNames.of(registry or None, params["images"] or [], bool(auths))
    labels = {marks.ROLE: marks.PULL_SECRET, marks.MANAGED_BY: marks.MANAGER}
    return plan.Wishes(
        point=str(params["point"] or found),
        application=application,
        namespaces=mapping.NamespaceMapping(names, transform_options.namespace_references(params)),
        images=images,
        pull_secret=pull_secret.pull_secret("", image_names.PULL_SECRET, auths, labels) if auths else None,
        rules=replace(transform_options.rules(params), hooks=restore_hooks.of_option(params)),
        include_kinds=params["include_kinds"] or (),
        exclude_kinds=params["exclude_kinds"] or (),
        existing=Policies.of(params["existing"], params["existing_kinds"] or {}),
        ordered=[str(one) for one in params["ordered"] or ()],
        bubble=shut,
        namespace_annotations=_texts(params["namespace_annotations"]),
        namespace_labels=_texts(params["namespace_labels"]),
    )


def _check_images(params: Mapping[str, Any], made: plan.Plan, missing: image_check.Missing) -> list[str]:
    registry = without_empty(params["registry"])
    if not registry or not params["check_images"]:
        return []
    mapped = made.wishes.images.mapped
    return image_check.foresee(made.steps, registry, mapped, missing, workers=params["workers"])


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(name): str(value) for name, value in (values or {}).items()}


# -- results ----------------------------------------------------------------------------------------------------------


def _result(made: plan.Plan, wishes: plan.Wishes, *, planned: bool) -> dict[str, Any]:
    # The many that a second run leaves alone go by their names: Ansible reads an entry in 200 microseconds.
    entries = [one.result(planned=planned) for one in made.steps if not one.unchanged]
    counts = step.counts(made.steps)
    short = bool(counts["blocked"] or counts["failed"])
    names = ", ".join(sorted(set(made.namespaces.values()))) or "the cluster"
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
    return {
        "changed": any(entry["changed"] for entry in entries),
        "msg": f"{'Would restore' if planned else 'Restored'} {len(made.steps)} objects into {names}: {words}",
        "status": "partial" if short else "completed",
        "counts": counts,
        "summary": report.summary(made.steps),
        "objects": entries,
        "unchanged": [str(one.identity) for one in made.steps if one.unchanged],
        "namespaces": made.namespaces,
        "point": wishes.point,
    }


def _incomplete(made: plan.Plan, wishes: plan.Wishes, result: dict[str, Any], failures: list[str]) -> Incomplete:
    bad = [one for one in made.steps if one.failed or one.action is step.Action.BLOCKED]
    # What went wrong is said first.
    bad.sort(key=lambda one: one.reason == step.NOT_REACHED)
    reasons, hint = [], ""
    if bad:
        shown = "; ".join(f"{one.identity}: {one.msg or one.reason}" for one in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        reasons.append(f"{len(bad)} of {len(made.steps)} were held back or failed: {shown}{more}")
        hint = (
            "Mend the reasons and run the same again; what is restored is recognised. "
            "The result names every object; check mode shows them beforehand."
        )
    if failures:
        reasons.append(f"a hook failed: {failures[0]}")
        hint += (" " if hint else "") + (
            "Run the hooks by hand that the result names: they run only where a restore changes something."
        )
    target = f"all objects of point {wishes.point}" if bad else f"point {wishes.point} with all its hooks"
    return Incomplete("restore", target, "; ".join(reasons), hint, result=result)


# -- away again -------------------------------------------------------------------------------------------------------


def _remove(request: Request, cluster: Cluster) -> dict[str, Any]:
    run, application = str(request.params["run"] or ""), str(request.params["application"] or "")
    # All that is named has to fit.
    labels = {name: value for name, value in ((marks.RUN, run), (marks.APPLICATION, application)) if value}
    whose = f"run {run}" if run else f"application {application}"
    found = bubble.remains(cluster, labels, workers=request.params["workers"])
    entries: list[JSON] = [
        {
            "name": one.title,
            "action": "delete",
            "reason": f"it belongs to {whose}",
            "changed": True,
            "failed": False,
            "skipped": False,
            "msg": "",
        }
        for one in found
    ]
    result = {
        "changed": bool(found),
        "msg": f"{'Would remove' if request.check_mode else 'Removed'} {len(found)} objects of the bubble of {whose}",
        "status": "completed",
        "counts": {"delete": len(found), "failed": 0},
        "summary": [f"delete {len(found)}"] if found else [],
        "objects": entries,
        "unchanged": [],
        "hooks": [],
        "namespaces": {},
        "point": None,
    }
    if found and not request.check_mode:
        try:
            bubble.remove(cluster, whose, found, timeout=request.params["timeout"], progress=request.progress)
        except MusterError as error:
            error.result = {**result, "status": "partial", **error.result}
            raise
    if not found:
        result["msg"] = f"There is nothing of a bubble of {whose}"
    return result
