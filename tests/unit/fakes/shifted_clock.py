# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Days that pass at once."""

from __future__ import annotations

from datetime import datetime, timedelta

from ansible_collections.muster.container_dr.plugins.module_utils._core import clock


class ShiftedClock:
    """The engine's clock and that of a fake bucket, ahead of the real one."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._real = clock.now

    def __call__(self) -> datetime:
        return self._real() + self.ahead

    def days(self, number: float) -> None:
        self.ahead += timedelta(days=number)
