# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import (
    Conflict,
    MusterError,
    NotFound,
    Refused,
)


def test_the_message_names_action_object_reason_and_remedy():
    error = NotFound("read", "PersistentVolumeClaim ledger/data", "it is not there.", "Create it.")
    assert str(error) == "Could not read PersistentVolumeClaim ledger/data: it is not there. Create it."
    assert isinstance(error, MusterError)


def test_a_lost_race_is_a_refusal():
    assert issubclass(Conflict, Refused)
