# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes this checkout importable as ansible_collections.muster.container_dr, however pytest was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".work" / "ansible"

# As tools/run sets them, for a pytest that was started otherwise.
os.environ.setdefault("ANSIBLE_HOME", str(ROOT / ".work" / "ansible-home"))
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".work" / "hypothesis"))
subprocess.run([ROOT / "tools" / "link-collection"], check=True)
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))
# Shared fakes are imported as fakes.NAME.
sys.path.insert(0, str(Path(__file__).parent))
# Property tests judge values, not the speed of the machine they run on. Decorators look for it as files are imported.
settings.register_profile("values", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("values")
