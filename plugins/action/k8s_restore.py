# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Controller side of the module of the same name: live progress."""

from __future__ import annotations

from ansible_collections.muster.container_dr.plugins.plugin_utils._live import LiveAction


class ActionModule(LiveAction):
    """Shows the module's progress while it runs."""
