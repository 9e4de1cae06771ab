# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The labels, annotations and names by which what we make in a cluster is told from what others made."""

from __future__ import annotations

PREFIX = "container-dr.muster.dev/"
APPLICATION = PREFIX + "application"
EPOCH = PREFIX + "epoch"
EXCLUDE = PREFIX + "exclude"
POINT = PREFIX + "point"
ROLE = PREFIX + "role"
RUN = PREFIX + "run"
# On what a run makes: until when it goes on at most.
ALIVE = PREFIX + "alive"
MOVER = PREFIX + "mover"
# On claims that we restored: which snapshot's tree they hold, and whether all of it.
TREE = PREFIX + "tree"
RESTORE = PREFIX + "restore"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "muster.container_dr"
NAMESPACE = "muster-container-dr"

# Values of ROLE that several parts ask for.
BUBBLE = "bubble"
CLONE = "clone"
CUT = "cut"
HELD = "held"
MEMBER = "member"
MOVING = "mover"
PULL_SECRET = "pull-secret"
RESTORING = "restore"
THAW = "thaw"

# Annotations of pods that users write: commands around backups, after restores, and init containers of restores.
BACKUP_HOOKS = {"pre": PREFIX + "pre-backup-", "post": PREFIX + "post-backup-"}
RESTORE_HOOK = PREFIX + "post-restore-"
RESTORE_INIT = PREFIX + "restore-init-"
OF_USERS = (*BACKUP_HOOKS.values(), RESTORE_HOOK, RESTORE_INIT)
