# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Is one object as its specification wants it? Pure: objects in, a verdict with its reason in words out.

The rules are those of kstatus (sigs.k8s.io/cli-utils) and of ``kubectl rollout status``, but for these, where something
that was restored has to be told from something that was applied:

- A Job has to complete; kstatus is content when it has begun.
- An ``OnDelete`` StatefulSet or DaemonSet has to run; only which revision its pods have is its user's business.
- A container that crashes again and again may wait for another one, so it is in progress, not failed.
- A Service with a selector has a ready endpoint, if anything that it selects is meant to run.
- An Ingress or a Gateway has an address or is programmed, if its class is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.masking import mask
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, objects
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import JSON

PODS = "pods"
DEPLOYMENTS = "deployments.apps"
STATEFUL_SETS = "statefulsets.apps"
DAEMON_SETS = "daemonsets.apps"
REPLICA_SETS = "replicasets.apps"
REPLICATION_CONTROLLERS = "replicationcontrollers"
JOBS = "jobs.batch"
CRON_JOBS = "cronjobs.batch"
SERVICES = "services"
SLICES = "endpointslices.discovery.k8s.io"
INGRESSES = "ingresses.networking.k8s.io"
GATEWAYS = "gateways.gateway.networking.k8s.io"
BUDGETS = "poddisruptionbudgets.policy"
AUTOSCALERS = "horizontalpodautoscalers.autoscaling"
STORAGE_CLASSES = "storageclasses.storage.k8s.io"
INGRESS_CLASSES = "ingressclasses.networking.k8s.io"
GATEWAY_CLASSES = "gatewayclasses.gateway.networking.k8s.io"

_ROUTES = "routes.gateway.networking.k8s.io"
_SHOWN = 300
_FIRST_CONSUMER = "WaitForFirstConsumer"
# Their controllers always say which generation they have seen.
_OBSERVED = frozenset({DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, REPLICA_SETS, REPLICATION_CONTROLLERS, BUDGETS})


class State(str, Enum):
    """``FAILED``: its controller has given up, or says that something is wrong."""

    CURRENT = "current"
    IN_PROGRESS = "in_progress"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """``final``: nothing will mend it by itself, so waiting is in vain. ``known``: something does speak of its state.

    ``aside``: it is not as it might be, and nobody waits for it all the same; a reader should know.
    """

    state: State
    reason: str
    final: bool = False
    known: bool = True
    aside: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What the verdict on one object needs to know of others. ``None`` stands for what could not be seen.

    ``serving`` are the Services (namespace, name) with a ready endpoint, ``running`` the labels of pods that are meant
    to run and ``ready`` of those that are ready, by namespace; ``mounted`` the claims that a pod uses; the classes map
    names to the binding mode or to whether it is the default one.
    """

    serving: Collection[tuple[str, str]] | None = None
    running: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    ready: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    mounted: Collection[tuple[str, str]] = ()
    binding_modes: Mapping[str, str] | None = None
    ingress_classes: Mapping[str, bool] | None = None
    gateway_classes: Collection[str] | None = None


def surroundings(seen: Mapping[str, Iterable[JSON]]) -> Surroundings:
    """From all objects by kind; a kind that could not be listed is not among the keys."""
    running: dict[str, list[Mapping[str, str]]] = {}
    ready: dict[str, list[Mapping[str, str]]] = {}
    mounted: set[tuple[str, str]] = set()
    for key in (DEPLOYMENTS, STATEFUL_SETS, REPLICA_SETS, REPLICATION_CONTROLLERS, DAEMON_SETS):
        for obj in seen.get(key, ()):
            if _pods_wanted(key, obj):
                labels = objects.lookup(obj, ("spec", "template", "metadata", "labels")) or {}
                running.setdefault(_namespace(obj), []).append(labels)
    for pod in seen.get(PODS, ()):
        mounted.update((_namespace(pod), claim) for claim in _claims(pod))
        if _out_of_sight(pod) is None:
            running.setdefault(_namespace(pod), []).append(objects.labels_of(pod))
            if _true(pod, "Ready"):
                ready.setdefault(_namespace(pod), []).append(objects.labels_of(pod))
    return Surroundings(
        serving=_serving(seen[SLICES]) if SLICES in seen else None,
        running=running,
        ready=ready,
        mounted=mounted,
        binding_modes=_binding_modes(seen.get(STORAGE_CLASSES)),
        ingress_classes=_defaults(seen.get(INGRESS_CLASSES), "ingressclass.kubernetes.io/is-default-class"),
        gateway_classes={_name(one) for one in seen[GATEWAY_CLASSES]} if GATEWAY_CLASSES in seen else None,
    )


def judge(key: str, obj: JSON, around: Surroundings | None = None) -> Verdict:
    """The verdict on one object of the kind ``deployments.apps``."""
    around = around or Surroundings()
    if key == PODS:
        return _pod(obj)
    if objects.lookup(obj, ("metadata", "deletionTimestamp")):
        held = ", ".join(objects.finalizers(obj))
        return _progress(f"it is being deleted{f', held by {held}' if held else ''}")
    unseen = _not_observed(key, obj)
    if unseen:
        return _progress(unseen)
    told = _conditions(obj)
    if _is(told.get("Stalled"), "True"):
        return Verdict(State.FAILED, _words(told["Stalled"], "it is stalled"))
    if _is(told.get("Reconciling"), "True"):
        return _progress(_words(told["Reconciling"], "it is being reconciled"))
    rule = _RULES.get(key)
    if rule is not None:
        return rule(obj, around)
    if key.endswith(_ROUTES):
        return _route(obj)
    if kinds.built_in(key):
        return Verdict(State.CURRENT, "nothing to wait for", known=False)
    return _by_conditions(obj)


# -- words and fields -----------------------------------------------------------------------------------------------


def shown(text: object) -> str:
    """Somebody else's words on one line, not too long, without secrets."""
    return mask(" ".join(str(text).split()))[:_SHOWN]


def _current(reason: str) -> Verdict:
    return Verdict(State.CURRENT, reason)


def _not_awaited(reason: str) -> Verdict:
    return Verdict(State.CURRENT, reason, aside=True)


def _progress(reason: str) -> Verdict:
    return Verdict(State.IN_PROGRESS, reason)


def _name(obj: JSON) -> str:
    return str(objects.lookup(obj, ("metadata", "name")) or "")


def _namespace(obj: JSON) -> str:
    return str(objects.lookup(obj, ("metadata", "namespace")) or "")


def _part(obj: JSON, name: str) -> dict[str, Any]:
    """``spec`` or ``status``; custom resources may have anything there."""
    value = obj.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: Any, default: int = 0) -> int:
    # Some controllers write generations as text.
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value if isinstance(value, int) else default


def _listed(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _conditions(obj: JSON) -> dict[str, dict[str, Any]]:
    return {str(one.get("type")): one for one in _listed(_part(obj, "status").get("conditions"))}


def _is(condition: Mapping[str, Any] | None, status: str) -> bool:
    return condition is not None and condition.get("status") == status


def _true(obj: JSON, condition: str) -> bool:
    return _is(_conditions(obj).get(condition), "True")


def _words(condition: Mapping[str, Any], otherwise: str) -> str:
    """``Reason: message`` of a condition."""
    parts = [str(condition.get(name)) for name in ("reason", "message") if condition.get(name)]
    return shown(": ".join(parts)) or otherwise


def _not_observed(key: str, obj: JSON) -> str:
    generation = objects.lookup(obj, ("metadata", "generation"))
    observed = _part(obj, "status").get("observedGeneration")
    if generation is None or (observed is None and key not in _OBSERVED):
        return ""
    if observed is None:
        return "its controller has not seen it yet"
    # Greater where a status was restored with an object whose generations begin anew.
    return "" if _number(observed) == _number(generation) else "its controller has not seen its last change yet"


# -- what runs pods -------------------------------------------------------------------------------------------------


def _deployment(obj: JSON, _around: Surroundings) -> Verdict:
    spec, status, told = _part(obj, "spec"), _part(obj, "status"), _conditions(obj)
    wanted, paused = _number(spec.get("replicas"), 1), bool(spec.get("paused"))
    updated, ready = _number(status.get("updatedReplicas")), _number(status.get("readyReplicas"))
    there, available = _number(status.get("replicas")), _number(status.get("availableReplicas"))
    short = ""
    if ready < wanted:
        short = f"{ready} of {wanted} ready"
    elif available < wanted:
        short = f"{available} of {wanted} available, the rest not long enough ready"
    elif not paused and updated < wanted:
        short = f"{updated} of {wanted} updated"
    elif not paused and there > updated:
        short = f"{there - updated} old pods still to go"
    elif there > wanted:
        short = f"{there - wanted} pods too many, still to go"
    if not short:
        return _current(f"{wanted} of {wanted} ready")
    progressing = told.get("Progressing") or {}
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        limit = spec.get("progressDeadlineSeconds", 600)
        return Verdict(State.FAILED, f"{short}, and its progress deadline of {limit} s is over", final=True)
    if _is(told.get("ReplicaFailure"), "True"):
        return _progress(f"{short}; {_words(told['ReplicaFailure'], 'its pods cannot be made')}")
    return _progress(f"{short}; it is paused, so its controller makes no pods" if paused else short)


def _stateful_set(obj: JSON, _around: Surroundings) -> Verdict:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    wanted = _number(spec.get("replicas"), 1)
    ready, there = _number(status.get("readyReplicas")), _number(status.get("replicas"))
    if ready < wanted:
        return _progress(f"{ready} of {wanted} ready")
    if there > wanted:
        return _progress(f"{there - wanted} pods too many, still to go")
    if objects.lookup(obj, ("spec", "updateStrategy", "type")) == "OnDelete":
        return _current(f"{wanted} of {wanted} ready; which revision they have is up to its user")
    partition = _number(objects.lookup(obj, ("spec", "updateStrategy", "rollingUpdate", "partition")))
    to_update, updated = max(wanted - partition, 0), _number(status.get("updatedReplicas"))
    if status.get("updateRevision") and updated < to_update:
        return _progress(f"{updated} of {to_update} updated")
    if not partition and status.get("currentRevision") != status.get("updateRevision"):
        return _progress("its update is not complete yet")
    return _current(f"{wanted} of {wanted} ready")


def _daemon_set(obj: JSON, _around: Surroundings) -> Verdict:
    status = _part(obj, "status")
    if "desiredNumberScheduled" not in status:
        return _progress("its controller has not counted the nodes yet")
    wanted, ready = _number(status["desiredNumberScheduled"]), _number(status.get("numberReady"))
    if ready < wanted:
        return _progress(f"{ready} of {wanted} ready")
    available = _number(status.get("numberAvailable"))
    if available < wanted:
        return _progress(f"{available} of {wanted} available, the rest not long enough ready")
    updated = _number(status.get("updatedNumberScheduled"))
    if objects.lookup(obj, ("spec", "updateStrategy", "type")) != "OnDelete" and updated < wanted:
        return _progress(f"{updated} of {wanted} updated")
    return _current(f"{wanted} of {wanted} ready" if wanted else "no node of this cluster takes its pods")


def _replica_set(obj: JSON, _around: Surroundings) -> Verdict:
    if objects.controller(obj):
        return _current("its owner speaks for it")
    status, told = _part(obj, "status"), _conditions(obj)
    wanted = _number(_part(obj, "spec").get("replicas"), 1)
    ready, there = _number(status.get("readyReplicas")), _number(status.get("replicas"))
    available = _number(status.get("availableReplicas"))
    if ready < wanted or available < wanted:
        short = f"{ready} of {wanted} ready" if ready < wanted else f"{available} of {wanted} available"
        if _is(told.get("ReplicaFailure"), "True"):
            short += f"; {_words(told['ReplicaFailure'], 'its pods cannot be made')}"
        return _progress(short)
    return _progress(f"{there - wanted} pods too many, still to go") if there > wanted else _current(f"{wanted} ready")


def _job(obj: JSON, _around: Surroundings) -> Verdict:
    spec, status, told = _part(obj, "spec"), _part(obj, "status"), _conditions(obj)
    owner = objects.controller(obj)
    if owner and owner.get("kind") == "CronJob":
        return _current("its CronJob makes another one in time")
    if _is(told.get("Complete"), "True") or _is(told.get("SuccessCriteriaMet"), "True"):
        return _current("complete")
    for kind in ("Failed", "FailureTarget"):
        if _is(told.get(kind), "True"):
            return Verdict(State.FAILED, _words(told[kind], "it has failed"), final=True)
    if spec.get("suspend") or _is(told.get("Suspended"), "True"):
        return _not_awaited("suspended, as it should be")
    if not status.get("startTime"):
        return _progress("it has not begun")
    # Without a number of completions it is complete when one pod has succeeded and the others have ended.
    wanted = spec.get("completions")
    done, failed = _number(status.get("succeeded")), _number(status.get("failed"))
    text = f"{done} of {_number(wanted, 1)} completed" if wanted is not None else f"it runs, {done} pods succeeded"
    return _progress(f"{text}, {failed} pods failed" if failed else text)


def _cron_job(_obj: JSON, _around: Surroundings) -> Verdict:
    return _current("it runs in its time")


def _out_of_sight(pod: JSON) -> str | None:
    """Why nobody waits for a pod, where that is so."""
    if objects.lookup(pod, ("metadata", "deletionTimestamp")):
        return "on its way out"
    phase = _part(pod, "status").get("phase")
    if phase == "Succeeded":
        return "finished"
    if any(owner.get("kind") == "Job" for owner in objects.owners(pod)):
        return "its Job speaks for it"
    if phase == "Failed" and objects.controlled_by_built_in(pod):
        return "it has failed, and its owner replaces it"
    return None


def _pod(pod: JSON) -> Verdict:
    aside = _out_of_sight(pod)
    if aside:
        return _current(aside)
    status, told = _part(pod, "status"), _conditions(pod)
    if status.get("phase") == "Failed":
        parts = [status.get("reason") or "it has failed", status.get("message") or _ended(pod)]
        reason = shown(": ".join(str(part) for part in parts if part))
        return Verdict(State.FAILED, reason, final=_part(pod, "spec").get("restartPolicy") == "Never")
    if _is(told.get("Ready"), "True"):
        return _current("ready")
    for container in container_statuses(pod):
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in ("PodInitializing", "ContainerCreating"):
            return _progress(shown(f"container {container['name']}: {waiting['reason']} {waiting.get('message', '')}"))
        ended = state.get("terminated") or {}
        if ended.get("exitCode"):
            return _progress(f"container {container['name']} ended with code {ended['exitCode']}")
    if _is(told.get("PodScheduled"), "False"):
        return _progress(shown(told["PodScheduled"].get("message") or "not scheduled"))
    unready = [
        str(one["name"])
        for one in container_statuses(pod)
        if not one.get("ready") and (one.get("state") or {}).get("running")
    ]
    if unready:
        return _progress(f"container {unready[0]} runs and is not ready yet")
    return _progress(str(status.get("phase") or "no status yet"))


def container_statuses(pod: JSON) -> list[dict[str, Any]]:
    """What the kubelet says of the pod's containers, init containers first."""
    status = _part(pod, "status")
    return [*_listed(status.get("initContainerStatuses")), *_listed(status.get("containerStatuses"))]


def _ended(pod: JSON) -> str:
    for container in container_statuses(pod):
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return f"container {container['name']} ended with code {ended['exitCode']}"
    return ""


def _pods_wanted(key: str, obj: JSON) -> int:
    if key == DAEMON_SETS:
        return _number(_part(obj, "status").get("desiredNumberScheduled"))
    return _number(_part(obj, "spec").get("replicas"), 1)


# -- volumes --------------------------------------------------------------------------------------------------------


def _claims(pod: JSON) -> Iterable[str]:
    for volume in _listed(_part(pod, "spec").get("volumes")):
        if volume.get("persistentVolumeClaim"):
            yield str(volume["persistentVolumeClaim"].get("claimName"))
        elif volume.get("ephemeral"):
            yield f"{_name(pod)}-{volume.get('name')}"


def _claim(obj: JSON, around: Surroundings) -> Verdict:
    phase = str(_part(obj, "status").get("phase") or "")
    if phase == "Bound":
        return _current("bound")
    if phase == "Lost":
        return Verdict(State.FAILED, f"its volume {_part(obj, 'spec').get('volumeName')} is lost")
    storage_class = _part(obj, "spec").get("storageClassName")
    if storage_class and (_namespace(obj), _name(obj)) not in around.mounted:
        mode = (around.binding_modes or {}).get(str(storage_class))
        # Bound beforehand by name it does not wait for a pod.
        if mode == _FIRST_CONSUMER and not _part(obj, "spec").get("volumeName"):
            return _not_awaited(f"class {storage_class} binds it when a pod mounts it, and none does")
        if around.binding_modes is not None and mode is None:
            return _progress(f"not bound; there is no storage class {storage_class}")
    return _progress(f"not bound ({phase or 'no status yet'})")


def _binding_modes(classes: Iterable[JSON] | None) -> dict[str, str] | None:
    if classes is None:
        return None
    return {_name(one): str(one.get("volumeBindingMode") or "Immediate") for one in classes}


# -- the way in -----------------------------------------------------------------------------------------------------


def _serving(slices: Iterable[JSON]) -> set[tuple[str, str]]:
    """Services with an endpoint that is ready, or of which nothing else is said."""
    return {
        (_namespace(one), service)
        for one in slices
        for service in [objects.labels_of(one).get("kubernetes.io/service-name")]
        if service
        and any(
            (endpoint.get("conditions") or {}).get("ready") is not False for endpoint in _listed(one.get("endpoints"))
        )
    }


def _service(obj: JSON, around: Surroundings) -> Verdict:
    spec, namespace = _part(obj, "spec"), _namespace(obj)
    if spec.get("type") == "ExternalName":
        return _current("a name for something outside")
    selector = spec.get("selector") or {}
    if selector and any(selector.items() <= labels.items() for labels in around.running.get(namespace, ())):
        if around.serving is None:
            serves = any(selector.items() <= labels.items() for labels in around.ready.get(namespace, ()))
        else:
            serves = (namespace, _name(obj)) in around.serving
        if not serves:
            return _progress("no endpoint of it is ready")
    if spec.get("type") == "LoadBalancer" and not _has_address(obj):
        return _progress("it has no address from a load balancer yet")
    return _current("it serves" if selector else "its endpoints are not its own business")


def _has_address(obj: JSON) -> bool:
    return bool(objects.lookup(obj, ("status", "loadBalancer", "ingress")))


def _defaults(classes: Iterable[JSON] | None, annotation: str) -> dict[str, bool] | None:
    if classes is None:
        return None
    return {_name(one): objects.annotations_of(one).get(annotation) == "true" for one in classes}


def _ingress(obj: JSON, around: Surroundings) -> Verdict:
    if _has_address(obj):
        return _current("it has an address")
    # Without its class nobody will ever give it an address, however long we wait.
    if around.ingress_classes is None:
        return _not_awaited("it has no address, and whether a controller takes it could not be seen")
    named = _part(obj, "spec").get("ingressClassName") or objects.annotations_of(obj).get("kubernetes.io/ingress.class")
    chosen = str(named) if named else next((name for name, usual in around.ingress_classes.items() if usual), None)
    if chosen is None:
        return _not_awaited("it names no class and the cluster has no default one, so no controller takes it")
    if chosen not in around.ingress_classes:
        return _not_awaited(f"there is no ingress class {chosen} here, so no controller takes it")
    return _progress(f"the controller of class {chosen} has given it no address yet")


def _gateway(obj: JSON, around: Surroundings) -> Verdict:
    chosen, told = str(_part(obj, "spec").get("gatewayClassName") or ""), _conditions(obj)
    if around.gateway_classes is None or chosen not in around.gateway_classes:
        return _not_awaited(f"there is no gateway class {chosen} here, so no controller takes it")
    for condition in ("Accepted", "Programmed"):
        if not _is(told.get(condition), "True"):
            return _progress(_words(told.get(condition) or {}, f"it is not {condition.lower()} yet"))
    return _current("programmed")


def _route(obj: JSON) -> Verdict:
    for parent in _listed(_part(obj, "status").get("parents")):
        for one in _listed(parent.get("conditions")):
            if one.get("type") in ("Accepted", "ResolvedRefs") and one.get("status") == "False":
                return _progress(_words(one, "its gateway does not accept it"))
    return _current("nobody has refused it")


# -- the rest -------------------------------------------------------------------------------------------------------


def _observed(_obj: JSON, _around: Surroundings) -> Verdict:
    return _current("seen by its controller")


def _definition(obj: JSON, _around: Surroundings) -> Verdict:
    told = _conditions(obj)
    if _is(told.get("NamesAccepted"), "False"):
        return Verdict(State.FAILED, _words(told["NamesAccepted"], "its names are taken"))
    established = told.get("Established")
    if _is(established, "True"):
        return _current("established")
    if established and established.get("status") == "False" and established.get("reason") != "Installing":
        return Verdict(State.FAILED, _words(established, "it could not be established"))
    return _progress("not established yet")


def _api_service(obj: JSON, _around: Surroundings) -> Verdict:
    available = _conditions(obj).get("Available")
    if not _part(obj, "spec").get("service") or _is(available, "True"):
        return _current("available")
    return _progress(_words(available or {}, "not available yet"))


def _by_conditions(obj: JSON) -> Verdict:
    told = _conditions(obj)
    if _is(told.get("Failed"), "True"):
        return Verdict(State.FAILED, _words(told["Failed"], "it says that it has failed"))
    for name in ("Ready", "Available"):
        if name in told:
            if _is(told[name], "True"):
                return _current(name.lower())
            return _progress(_words(told[name], f"it does not say that it is {name.lower()}"))
    return Verdict(State.CURRENT, "nothing says that it is not ready", known=False)


_RULES: dict[str, Callable[[JSON, Surroundings], Verdict]] = {
    DEPLOYMENTS: _deployment,
    STATEFUL_SETS: _stateful_set,
    DAEMON_SETS: _daemon_set,
    REPLICA_SETS: _replica_set,
    REPLICATION_CONTROLLERS: _replica_set,
    JOBS: _job,
    CRON_JOBS: _cron_job,
    kinds.PVCS: _claim,
    SERVICES: _service,
    INGRESSES: _ingress,
    GATEWAYS: _gateway,
    BUDGETS: _observed,
    AUTOSCALERS: _observed,
    kinds.CRDS: _definition,
    kinds.API_SERVICES: _api_service,
}
