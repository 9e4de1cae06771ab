# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Live progress."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  progress_file:
    description:
      - File to which the module appends its progress as JSON lines while it runs.
      - Set by itself where task and module run on the same machine, so that C(ansible-playbook) shows a line per
        volume, image or wave as it advances. Set it to follow a run by other means.
    type: path
"""
