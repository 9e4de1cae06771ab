# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

LEDGER = Path(__file__).resolve().parents[2] / "sites/apps/ledger"
# The application's own modules as its image has them, and the control node's side.
sys.path[:0] = [str(LEDGER), str(LEDGER / "images/api")]
