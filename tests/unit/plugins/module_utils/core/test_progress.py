# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading

from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import ProgressFile


def test_lines_of_many_threads_stay_whole(tmp_path):
    path = tmp_path / "progress"
    progress = ProgressFile(path)

    def work(number: int) -> None:
        for done in range(50):
            progress.update("volume", f"v{number}", "running", done=done, total=50, unit="files")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(events) == 200
    assert [event["done"] for event in events if event["name"] == "v2"] == list(range(50))
    assert "msg" not in events[0]
