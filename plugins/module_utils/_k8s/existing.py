# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Objects that the target has already: compared with the wanted ones, and respected as the user says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ansible_collections.muster.container_dr.plugins.module_utils._core import marks, pool
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import Refused
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import (
    bubble,
    difference,
    kinds,
    live_pod,
    objects,
    ownership,
    statuses,
    strip,
    volume_clashes,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON, ApiError, Cluster
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.policy import Existing, Policies
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.step import Action, Step
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.target import Target

# Deleting one takes along what is in it, or data.
_NEVER_RECREATED = frozenset(
    {
        kinds.CRDS,
        kinds.NAMESPACES,
        kinds.PVCS,
        kinds.PVS,
        kinds.API_SERVICES,
        "volumesnapshotcontents.snapshot.storage.k8s.io",
    }
)
# The server writes these itself; a namespace never loses them.
_SERVERS_LABEL = "kubernetes.io/metadata.name"
_ATTEMPTS = 4
_GIVEN_BACK = "it is there and equal; its fields go back to their former owners"


class Wishes(Protocol):
    """The part of a restore's wishes that matters here."""

    @property
    def point(self) -> str: ...
    @property
    def existing(self) -> Policies: ...
    @property
    def bubble(self) -> bubble.Bubble | None: ...
    @property
    def namespace_annotations(self) -> Mapping[str, str]: ...
    @property
    def namespace_labels(self) -> Mapping[str, str]: ...


def refuse_strangers(target: Target, wishes: Wishes) -> None:
    """Refuse, naming them, when there are things in the way. Nothing has been written yet."""
    suspicious = []
    for name in sorted(target.namespaces):
        labels = objects.labels_of(target.namespaces[name])
        if wishes.bubble is not None:
            if labels.get(marks.ROLE) == marks.BUBBLE and labels.get(marks.RUN) == wishes.bubble.run:
                continue
            if labels.get(marks.ROLE) == marks.BUBBLE:
                raise Refused(
                    "restore into",
                    f"namespace {name}",
                    f"it is the bubble of another run, {labels.get(marks.RUN)}",
                    "Remove that one first, or choose another namespace.",
                )
        elif labels.get(marks.ROLE) == marks.BUBBLE:
            raise Refused("restore into", f"namespace {name}", "it is a drill's bubble", "Remove the bubble first.")
        elif wishes.existing.default is not Existing.FAIL or target.restored_before(name, wishes.point):
            continue
        suspicious.append(name)
    if not suspicious:
        return

    def relevant(key: str) -> bool:
        return wishes.bubble is not None or wishes.existing(key) is Existing.FAIL

    in_the_way = target.strangers(suspicious, relevant)
    if in_the_way:
        raise in_the_way_of(in_the_way, wishes)


def in_the_way_of(names: list[str], wishes: Wishes) -> Refused:
    """The error for objects that must not be touched."""
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    hint = (
        "Restore into a bubble namespace of its own."
        if wishes.bubble
        else "Map it to another namespace, remove them, or choose existing: keep, update, merge or recreate."
    )
    spaces = sorted({name.partition("/")[0] for name in names if name.count("/") > 1})
    return Refused(
        "restore into",
        f"namespace {', '.join(spaces)}" if spaces else "the cluster",
        f"there are things in it already: {shown}",
        hint,
        result={"in_the_way": names},
    )


def refuse_differing(steps: Iterable[Step], wishes: Wishes) -> None:
    """Refuse when objects of a kind for which `fail` was chosen are there and differ."""
    names = [
        str(step.identity)
        for step in steps
        if step.live is not None
        and step.differs
        and not (step.only_status or step.only_links)
        and wishes.bubble is None
        and wishes.existing.named(step.key) is Existing.FAIL
    ]
    if names:
        raise in_the_way_of(sorted(names), wishes)


def decide(step: Step, live: JSON, target: Target, wishes: Wishes, keep_node_ports: bool) -> None:
    """Turn a step's `create` into what fits the object that is there."""
    step.live, step.sure = live, "seen"
    wanted = step.body
    policy = step.policy
    if step.key == kinds.NAMESPACES:
        _namespace(step, wanted, live, wishes)
        return
    if live["metadata"].get("deletionTimestamp"):
        step.decide(Action.BLOCKED, "one of that name is being deleted; run again when it is gone")
        return
    step.status_due = step.has_status and _status_due(step, wanted.get("status"), live, target, wishes)
    wanted = objects.essence(wanted)
    mine = strip.comparable(step.key, live, wanted, keep_node_ports=keep_node_ports)
    if step.unserved:
        # The target shows it in the version that it serves now.
        mine["apiVersion"] = wanted["apiVersion"]
    same = mine == wanted
    if not same:
        step.differs = difference.words(step.key, mine, wanted)
    if step.key == kinds.PVCS:
        step.decide(Action.KEEP, "the claim is there; a volume is never replaced")
    elif step.ours:
        step.decide(*((Action.KEEP, "it is there") if same else (Action.UPDATE, f"{step.reason}, and differs")))
    elif step.key == kinds.PVS and (taken := volume_clashes.taken(wanted, live)):
        step.decide(Action.BLOCKED, taken)
    elif not step.identity.namespace:
        step.decide(*_shared(same, live, policy, wishes))
    elif same:
        step.decide(Action.KEEP, "it is there and equal")
    else:
        before = target.restored_before(step.identity.namespace, wishes.point)
        step.decide(*_own(step, policy, before))
    step.merges = step.action is Action.UPDATE and policy is Existing.MERGE and not step.ours
    if step.merges and contained(wanted, mine):
        step.decide(Action.KEEP, "it is there with all that was captured")
        step.differs = []
    if not _kept_though_different(step):
        _status_alone(step)
        settle(step)


def _status_due(step: Step, status: object, live: JSON, target: Target, wishes: Wishes) -> bool:
    """Whether the object gets the captured status, whatever else differs."""
    if step.key == kinds.PVCS or (wishes.bubble is not None and not step.identity.namespace):
        return False
    if step.policy in (Existing.UPDATE, Existing.MERGE, Existing.RECREATE):
        return statuses.lacking(live, status)
    # A run that ended between object and status left none; what controllers have written since is theirs.
    before = target.restored_before(step.identity.namespace, wishes.point)
    return step.policy is Existing.FAIL and before and not live.get("status")


def _status_alone(step: Step) -> bool:
    """Turn `keep` into an update of nothing but the status, where that is due."""
    if step.action is not Action.KEEP or not step.status_due or step.differs or step.live is None:
        return False
    step.decide(Action.UPDATE, "it is there and equal but for its status")
    step.only_status = True
    before = {"status": step.live.get("status") or {}}
    step.differs = difference.words(step.key, before, statuses.merged(step.live, step.body["status"]))
    return True


def settle(step: Step) -> None:
    """For an object that stays: give its fields back where a run ended before doing so, and forget its content."""
    live = step.live
    if step.action is not Action.KEEP or live is None:
        return
    if not step.ours and ownership.ours(live) and _owed(step, live):
        step.decide(Action.UPDATE, _GIVEN_BACK if not step.differs else _GIVEN_BACK.replace("and equal; ", ""))
        step.only_owners = True
    if step.key == kinds.NAMESPACES:
        return
    metadata = live["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "ownerReferences")
    step.live = {"metadata": {name: metadata[name] for name in kept if name in metadata}}


def _owed(step: Step, live: JSON) -> bool:
    """Whether fields that we own were somebody else's when the object was captured."""
    return ownership.given_back(step.managed_fields, live, keep_ours=step.key == kinds.NAMESPACES) is not None


def contained(wanted: object, live: object) -> bool:
    """Whether merging changes nothing: all that is wanted is there, lists as they are."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(name in live and contained(value, live[name]) for name, value in wanted.items())
    return wanted == live


def _namespace(step: Step, wanted: JSON, live: JSON, wishes: Wishes) -> None:
    """Labels and annotations are added, with `update` and `recreate` also taken away; with `keep` only ours count."""
    missing = sorted(
        name
        for field, values in _wanted_marks(step, wanted, wishes).items()
        for name, value in values.items()
        if (live["metadata"].get(field) or {}).get(name) != value
    )
    extra = sorted(name for names in surplus(step, live).values() for name in names)
    if missing or extra:
        words = [f"without {', '.join(missing)}"] if missing else []
        words += [f"with {', '.join(extra)}, which the point does not have"] if extra else []
        step.decide(Action.UPDATE, f"it is there {' and '.join(words)}")
    else:
        step.decide(Action.KEEP, "it is there")
    named = wishes.existing.named(step.key)
    if wishes.bubble is None and (step.policy is Existing.KEEP or named is Existing.FAIL):
        given, granted = _marks_of(wanted), _granted_marks(wanted, wishes)
        step.differs = sorted(
            f"metadata.{field}.{name}: kept as it is"
            for field, values in given.items()
            for name, value in values.items()
            if (live["metadata"].get(field) or {}).get(name) != value and name not in granted[field]
        )
    settle(step)


def _wanted_marks(step: Step, wanted: JSON, wishes: Wishes) -> dict[str, dict[str, str]]:
    """The labels and annotations that a namespace which is there gets."""
    kept = step.policy is Existing.KEEP and wishes.bubble is None
    return _granted_marks(wanted, wishes) if kept else _marks_of(wanted)


def _marks_of(namespace: JSON) -> dict[str, dict[str, str]]:
    return {field: dict(namespace["metadata"].get(field) or {}) for field in ("labels", "annotations")}


def _granted_marks(wanted: JSON, wishes: Wishes) -> dict[str, dict[str, str]]:
    """Those of them that any namespace gets: ours, and what the user asks for."""
    asked = {"labels": wishes.namespace_labels, "annotations": wishes.namespace_annotations}
    return {
        field: {name: value for name, value in values.items() if name.startswith(marks.PREFIX) or name in asked[field]}
        for field, values in _marks_of(wanted).items()
    }


def namespace_patch(step: Step, wishes: Wishes) -> JSON:
    """The merge patch that gives a namespace what it lacks and takes what the policy takes."""
    wanted = _wanted_marks(step, step.body, wishes)
    gone = surplus(step, step.live or {"metadata": {}})
    return {field: {**dict.fromkeys(gone[field]), **values} for field, values in wanted.items()}


def surplus(step: Step, live: JSON) -> dict[str, list[str]]:
    """Labels and annotations of a live namespace that go because the point does not have them."""
    found: dict[str, list[str]] = {"labels": [], "annotations": []}
    if step.policy not in (Existing.UPDATE, Existing.RECREATE):
        return found
    wanted = step.body["metadata"]
    for field in found:
        held = live["metadata"].get(field) or {}
        found[field] = sorted(
            name
            for name in held
            if name not in (wanted.get(field) or {}) and name != _SERVERS_LABEL and not name.startswith(marks.PREFIX)
        )
    return found


def _shared(same: bool, live: JSON, policy: Existing, wishes: Wishes) -> tuple[Action, str]:
    """An object of the whole cluster, which others may use too."""
    labels = objects.labels_of(live)
    if wishes.bubble is not None:
        if same or labels.get(marks.RUN) != wishes.bubble.run:
            return Action.KEEP, "the cluster has it; a drill changes nothing of it"
        return Action.UPDATE, "it is this drill's and differs"
    if labels.get(marks.ROLE) == marks.BUBBLE:
        # Else the end of the drill would take it away from the application.
        return Action.UPDATE, "a drill made it; it is taken over"
    if same:
        return Action.KEEP, "it is there and equal"
    if policy is Existing.RECREATE:
        return Action.RECREATE, "it differs"
    if policy in (Existing.UPDATE, Existing.MERGE):
        return Action.UPDATE, "it differs"
    return Action.KEEP, "it is there and differs; others may use it"


def _own(step: Step, policy: Existing, restored_before: bool) -> tuple[Action, str]:
    """An object in one of the restored namespaces that differs."""
    if step.key == "serviceaccounts" and step.identity.name == "default" and policy is not Existing.KEEP:
        return Action.UPDATE, "every namespace gets one; it differs"
    if policy in (Existing.UPDATE, Existing.MERGE):
        return Action.UPDATE, "it differs"
    if policy is Existing.RECREATE:
        return Action.RECREATE, "it differs"
    if policy is Existing.KEEP:
        return Action.KEEP, "it is there and differs; kept as it is"
    if restored_before:
        return Action.KEEP, "it has changed since an earlier run restored it; kept as it is"
    return Action.KEEP, "it is there and differs; it is not the application's"


def same_content(key: str, wanted: JSON, live: JSON, keep_node_ports: bool) -> bool:
    """Whether the live object already is what the restore wants, the server's own fields aside."""
    return strip.comparable(key, live, wanted, keep_node_ports=keep_node_ports) == objects.essence(wanted)


def replacement(step: Step) -> JSON:
    """The body that makes the live object equal to the point and leaves the server what is the server's."""
    body, live = step.body, step.live or {}
    metadata, held = body["metadata"], live["metadata"]
    metadata["resourceVersion"], metadata["uid"] = held["resourceVersion"], held["uid"]
    finalizers = list(dict.fromkeys([*(held.get("finalizers") or []), *(metadata.get("finalizers") or [])]))
    if finalizers:
        metadata["finalizers"] = finalizers
    if held.get("ownerReferences"):
        metadata.setdefault("ownerReferences", held["ownerReferences"])
    if held.get("generateName"):
        metadata["generateName"] = held["generateName"]
    for name in strip.SERVER_ANNOTATIONS:
        value = (held.get("annotations") or {}).get(name)
        if value is not None:
            metadata.setdefault("annotations", {})[name] = value
    if "status" in live:
        body.setdefault("status", live["status"])
    for field in _HELD_BY_SERVER.get(step.key, ()):
        value = (live.get("spec") or {}).get(field)
        if value is not None:
            body["spec"].setdefault(field, value)
    if step.key == kinds.PVS:
        volume_clashes.keep_binding(body, live)
    if step.key == "pods":
        live_pod.carry_over(body, live)
    if step.key == "serviceaccounts" and live.get("secrets"):
        body["secrets"] = strip.linked_secrets(body, live)
    if step.key == "secrets" and body.get("type") == "kubernetes.io/service-account-token":
        body["data"] = live.get("data")
    if step.key == "jobs.batch":
        labels = objects.lookup(live, ("spec", "template", "metadata", "labels")) or {}
        template = body["spec"]["template"].setdefault("metadata", {})
        template["labels"] = {**labels, **(template.get("labels") or {})}
        ours = {name: value for name, value in (held.get("labels") or {}).items() if name in strip.JOB_LABELS}
        metadata["labels"] = {**ours, **(metadata.get("labels") or {})}
    return body


_HELD_BY_SERVER = {
    "services": ("clusterIP", "clusterIPs", "healthCheckNodePort"),
    "jobs.batch": ("selector",),
    kinds.PVCS: ("volumeName",),
}


def write(cluster: Cluster, step: Step, body: JSON, *, dry_run: bool = False) -> JSON:
    """Update an object that is there, by replacing it or by merging into it, and return the server's answer."""
    if step.merges:
        # As an applier that owns nothing yet: what the body does not name stays, lists are merged as the schema says.
        return cluster.apply(step.path, body, dry_run=dry_run)
    author = step.author
    # Fields that an applier owns are written under our name and given back: an update must not look like an apply.
    if author.applies or not author.whole:
        return cluster.replace(step.path, body, dry_run=dry_run)
    return cluster.replace(step.path, body, dry_run=dry_run, manager=author.manager)


def update_body(step: Step, links: Sequence[JSON] = ()) -> JSON:
    """What :func:`write` sends for the step; ``links`` are its owners, of which a merge says nothing."""
    return step.body if step.merges else objects.link(replacement(step), links)


def write_current(cluster: Cluster, step: Step, *, dry_run: bool = False, links: Sequence[JSON] = ()) -> JSON | None:
    """:func:`write`, again with a fresh look where a controller changed the object meanwhile; ``None``: no change."""
    for attempt in range(_ATTEMPTS):
        try:
            answer = write(cluster, step, update_body(step, links), dry_run=dry_run)
            break
        except ApiError as error:
            if error.status != 409 or attempt + 1 == _ATTEMPTS:
                raise
            step.live = cluster.get(step.path)
    same = objects.essence(answer) == objects.essence(step.live or {})
    return None if same else answer


def ask_to_create(cluster: Cluster, step: Step, links: Sequence[JSON] = ()) -> None:
    """Let the server try to create anew, without storing it, what is there.

    It judges the object before it sees that the name is taken. Raises :class:`ApiError` with its words where it would
    refuse it.
    """
    body = objects.link(_without_own_claims(step), links)
    try:
        cluster.create(step.collection, body, dry_run=True, manager=step.author.manager)
    except ApiError as error:
        if error.cause != "AlreadyExists":
            raise


def _without_own_claims(step: Step) -> JSON:
    """The wanted object without what only one may have and the live one has, so that it gets free with it."""
    body, live = step.body, step.live or {}
    if step.key == "priorityclasses.scheduling.k8s.io" and live.get("globalDefault"):
        body.pop("globalDefault", None)
    spec, held = body.get("spec"), live.get("spec") or {}
    if step.key != "services" or not isinstance(spec, dict):
        return body
    if spec.get("clusterIP") != "None" and spec.get("clusterIP") == held.get("clusterIP"):
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    numbers = {port.get("nodePort") for port in held.get("ports") or []} | {held.get("healthCheckNodePort")}
    if spec.get("healthCheckNodePort") in numbers:
        spec.pop("healthCheckNodePort", None)
    for port in spec.get("ports") or []:
        # Of other types the number is a fault, which shall be found.
        if spec.get("type") in ("NodePort", "LoadBalancer") and port.get("nodePort") in numbers:
            port.pop("nodePort", None)
    return body


def ask_about_updates(cluster: Cluster, steps: list[Step], target: Target, workers: int) -> None:
    """Let the server try each change without storing it: some change nothing, some are not allowed."""
    for step in steps:
        if step.unserved and step.action is Action.RECREATE:
            # Nobody can be asked yet whether it must be.
            step.decide(Action.UPDATE, step.reason)
    questions = [
        step
        for step in steps
        if step.live is not None
        and not step.unserved
        and step.key != kinds.NAMESPACES
        and "kind" in step.live
        and (step.action in (Action.UPDATE, Action.RECREATE) or _kept_though_different(step))
    ]

    def ask(step: Step) -> None:
        if step.only_status:
            _ask_about_status(cluster, step, target)
            return
        kept = step.action is Action.KEEP
        try:
            answer = write_current(cluster, step, dry_run=True)
        except ApiError as error:
            if kept:
                settle(step)
            else:
                step.sure = "dry_run"
                _refused(cluster, step, error, target)
            return
        step.sure = "dry_run"
        if answer is None:
            step.decide(Action.KEEP, "it is there and equal for the server")
            step.differs = []
            if _status_alone(step):
                _ask_about_status(cluster, step, target)
                return
        if answer is None or kept:
            settle(step)
            return
        live = step.live or {}
        step.differs = difference.words(step.key, objects.essence(live), objects.essence(answer))
        if step.action is Action.RECREATE:
            # What can be updated is not thrown away.
            step.decide(Action.UPDATE, step.reason)

    for outcome in pool.each(questions, ask, workers=workers):
        if outcome.error is not None:
            raise outcome.error


def _ask_about_status(cluster: Cluster, step: Step, target: Target) -> None:
    """The server may leave out of a status what its schema does not have, and see no change."""
    live = step.live or {}
    step.sure = "dry_run"
    try:
        answer = statuses.write(cluster, step.path, step.body["status"], manager=step.author.manager, dry_run=True)
    except ApiError as error:
        _refused(cluster, step, error, target)
        return
    step.differs = difference.words(step.key, {"status": live.get("status")}, {"status": answer.get("status")})
    if not step.differs:
        step.decide(Action.KEEP, "it is there and equal for the server")
        step.only_status = False
        settle(step)


def _kept_though_different(step: Step) -> bool:
    """The server may see equality where the texts differ, in fields that it adds itself; claims are left in peace."""
    return bool(step.action is Action.KEEP and step.differs and step.key not in (kinds.PVCS, kinds.NAMESPACES))


def _refused(cluster: Cluster, step: Step, error: ApiError, target: Target) -> None:
    reason = f"it differs and cannot be updated: {error.reason}"
    if step.action is Action.RECREATE and error.status == 422:
        if step.key in _NEVER_RECREATED:
            step.decide(Action.BLOCKED, f"{reason} (objects of this kind are never recreated)")
        elif target.keeps_claims(str((step.live or {})["metadata"]["uid"])):
            step.decide(Action.BLOCKED, f"{reason} (recreating it would delete volume claims that belong to it)")
        else:
            step.reason = reason
            _ask_before_deleting(cluster, step)
        return
    step.decide(Action.BLOCKED, reason)


def _ask_before_deleting(cluster: Cluster, step: Step) -> None:
    """Not only a field that cannot be changed is refused: what is wrong anywhere must not be deleted for it."""
    try:
        ask_to_create(cluster, step)
    except ApiError as error:
        words = "" if error.reason in step.reason else f": {error.reason}"
        step.decide(Action.BLOCKED, f"{step.reason} (nor could it be created again{words})")
