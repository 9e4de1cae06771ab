# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx settings for the module, role and plugin pages that tools/render-docs writes."""

from __future__ import annotations

project = "muster.container_dr"
extensions = ["sphinx_antsibull_ext"]
html_theme = "alabaster"
html_show_sphinx = False
root_doc = "index"
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
# Pages of ansible-core and of other collections are not part of this build.
nitpicky = False
smartquotes = False
