# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Finalizers: one whose controller is not at the target would keep its object from ever being deleted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import kinds, strip

# Domains that say nothing about who the controller is.
_SHARED = frozenset(
    {"k8s.io", "kubernetes.io", "x-k8s.io", "github.io", "github.com", "io", "com", "dev", "org", "net"}
)


def split(
    names: Iterable[str], key: str, groups: Iterable[str], wanted: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Finalizers of users and operators: those to keep, and those to hold back.

    ``groups`` are the API groups that the target serves or that the restore brings. A finalizer is kept where one of
    them belongs to its domain (``argocd.argoproj.io`` to ``argoproj.io``, ``finalizers.fluxcd.io`` to
    ``kustomize.toolkit.fluxcd.io``); one without a domain where it is on a custom resource, which only that
    resource's controller can have written; and one that a glob of ``wanted`` matches. Kubernetes' own are in neither
    list: it sets them itself.
    """
    known = [group for group in groups if group and not kinds.built_in(f"x.{group}")]
    kept: list[str] = []
    held: list[str] = []
    for name in names:
        if strip.users_finalizer(name):
            chosen = _served(name, key, known) or any(fnmatchcase(name, glob) for glob in wanted)
            (kept if chosen else held).append(name)
    return kept, held


def _served(name: str, key: str, groups: list[str]) -> bool:
    domain = name.partition("/")[0]
    if "." not in domain:
        return not kinds.built_in(key)
    parent = domain.partition(".")[2]
    for candidate in (domain, parent):
        if candidate in _SHARED or "." not in candidate:
            continue
        for group in groups:
            if group == candidate or group.endswith(f".{candidate}") or candidate.endswith(f".{group}"):
                return True
    return False
