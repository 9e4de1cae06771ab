# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which login is taken for which repository."""

from __future__ import annotations

from ansible_collections.muster.container_dr.plugins.module_utils._oci.auth import Keyring, Login


def test_a_login_for_a_path_is_not_covered_up_by_one_for_the_whole_host() -> None:
    keyring = Keyring()
    keyring.add("r.example:5000", Login("muster", "right", "", "sources"))
    keyring.add("r.example:5000", Login("muster", "wrong", "", "target"), "backup")
    assert [login.password for login in keyring.candidates("r.example:5000", "backup/shop")] == ["wrong"]
    assert [login.password for login in keyring.candidates("r.example:5000", "shop")] == ["right"]
