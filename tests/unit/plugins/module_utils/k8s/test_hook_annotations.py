# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Annotations of pods that are hooks, and what is kept of what commands print."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._k8s import hook_annotations, hook_output
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.hook import Command

OURS = "container-dr.muster.dev/"
PRE, POST = "pre.hook.backup.velero.io/", "post.hook.backup.velero.io/"
RESTORE, INIT = "post.hook.restore.velero.io/", "init.hook.restore.velero.io/"
SPEC: dict[str, Any] = {"containers": [{"name": "main"}, {"name": "side"}]}


def pod(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "db-0", "namespace": "shop", "annotations": annotations}, "spec": SPEC}


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({PRE + "command": '["/bin/freeze", "-f"]'}, Command(("/bin/freeze", "-f"), timeout=30, source="velero")),
        # Not split into words: Velero runs it as the one word of the command.
        ({PRE + "command": "freeze -f"}, Command(("freeze -f",), timeout=30, source="velero")),
        ({"hook.backup.velero.io/command": "old"}, Command(("old",), timeout=30, source="velero")),
        (
            {
                PRE + "command": "f",
                PRE + "container": "side",
                PRE + "timeout": "1m30s",
                PRE + "on-error": "Continue",
            },
            Command(("f",), "side", 90, True, source="velero"),
        ),
        (
            {OURS + "pre-backup-command": "ours", PRE + "command": "theirs", PRE + "timeout": "1h"},
            Command(("ours",), source="annotation"),
        ),
        (
            {
                OURS + "pre-backup-command": "f",
                OURS + "pre-backup-container": "side",
                OURS + "pre-backup-timeout": "5",
                OURS + "pre-backup-on-error": "continue",
                OURS + "pre-backup-output": "none",
            },
            Command(("f",), "side", 5, True, False, "annotation"),
        ),
    ],
)
def test_a_command_before_the_cut(annotations: dict[str, str], wanted: Command) -> None:
    assert hook_annotations.backup(pod(**annotations)) == {"pre": wanted}


def test_each_phase_has_its_own_source() -> None:
    found = hook_annotations.backup(pod(**{OURS + "pre-backup-command": "a", POST + "command": "b"}))
    assert {phase: (one.argv, one.source) for phase, one in found.items()} == {
        "pre": (("a",), "annotation"),
        "post": (("b",), "velero"),
    }


def test_a_part_of_veleros_without_a_command_is_nothing_as_with_velero() -> None:
    assert hook_annotations.backup(pod(**{PRE + "container": "main", POST + "timeout": "soon"})) == {}


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({PRE + "command": '["a", 1]'}, "annotation pre.hook.backup.velero.io/command of pod shop/db-0: it is no JSON"),
        ({PRE + "command": "[a"}, "no JSON array"),
        ({PRE + "command": "[]"}, "no JSON array"),
        ({PRE + "command": "a", PRE + "timeout": "soon"}, "pre.hook.backup.velero.io/timeout of pod shop/db-0: 'soon'"),
        ({POST + "command": "a", POST + "on-error": "ignore"}, "post.hook.backup.velero.io/on-error .* 'ignore'"),
        ({POST + "command": "a", POST + "container": "none"}, "there is no container 'none'. There: main, side"),
        ({OURS + "pre-backup-comand": "a"}, "pre-backup-comand of pod shop/db-0: it is unknown"),
        ({OURS + "post-backup-timeout": "1m"}, "there is no container-dr.muster.dev/post-backup-command beside it"),
        ({OURS + "post-backup-command": "a", OURS + "post-backup-output": "some"}, "'some'. It is one of kept, none"),
    ],
)
def test_what_cannot_be_read_is_named(annotations: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        hook_annotations.backup(pod(**annotations))
    assert "hook_annotations" in str(caught.value)


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({RESTORE + "command": "a"}, (Command(("a",), None, 30, True, source="velero"), 300, False)),
        (
            {
                RESTORE + "command": '["psql"]',
                RESTORE + "container": "injected",
                RESTORE + "on-error": "Fail",
                RESTORE + "exec-timeout": "45s",
                RESTORE + "wait-timeout": "10m",
                RESTORE + "wait-for-ready": "true",
            },
            (Command(("psql",), "injected", 45, False, source="velero"), 600, True),
        ),
        (
            {
                OURS + "post-restore-command": "b",
                OURS + "post-restore-timeout": "2m",
                OURS + "post-restore-wait-timeout": "1s",
                RESTORE + "command": "a",
            },
            (Command(("b",), None, 120, source="annotation"), 1, False),
        ),
    ],
)
def test_a_command_after_a_restore(annotations: dict[str, str], wanted: tuple[Command, float, bool]) -> None:
    found = hook_annotations.restore("deployment shop/db", annotations)
    assert found is not None and (found.command, found.wait, found.ready) == wanted


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({INIT + "container-image": "tools:1"}, {"name": "muster-restore-init", "image": "tools:1"}),
        (
            {
                INIT + "container-image": "tools:1",
                INIT + "container-name": "fill",
                INIT + "command": '["sh", "-c", "date"]',
                INIT + "timeout": "2m",
            },
            {"name": "fill", "image": "tools:1", "command": ["sh", "-c", "date"]},
        ),
        (
            {OURS + "restore-init-image": "ours:2", OURS + "restore-init-command": "x", INIT + "container-image": "t"},
            {"name": "muster-restore-init", "image": "ours:2", "command": ["x"]},
        ),
        ({INIT + "command": "x"}, None),
    ],
)
def test_an_init_container(annotations: dict[str, str], wanted: dict[str, Any] | None) -> None:
    assert hook_annotations.init_container("deployment shop/db", annotations) == wanted


# -- output -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password=hunter2 next", "password=*** next"),
        ("DB_PASSWORD: 'hun ter2'", "DB_PASSWORD: ***"),
        ('{"api_key": "hunter2", "n": 1}', '{"api_key": ***, "n": 1}'),
        ("token: hunter2\nfine", "token: ***\nfine"),
        ("mysql --password hunter2 -e x", "mysql --password *** -e x"),
        ("postgres://u:hunter2@db:5432/x", "postgres://***@db:5432/x"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: *** ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nhunter2", "***"),
        ("said canary-1 twice: canary-1", "said *** twice: ***"),
        ("http://db:5432/path is up, 3 tests passed: 12", "http://db:5432/path is up, 3 tests passed: 12"),
    ],
)
def test_what_looks_like_a_secret_is_not_kept(text: str, left: str) -> None:
    assert hook_output.kept(text, {"canary-1"}) == left


def test_the_end_is_kept() -> None:
    kept = hook_output.kept("ä" * 100_000 + "end", ())
    assert kept.startswith("... ") and kept.endswith("äend") and len(kept.encode()) <= hook_output.LIMIT


def test_a_secret_where_the_output_is_cut_is_not_kept_in_part() -> None:
    # The word before the value is further from the end than what is kept.
    kept = hook_output.kept("password=" + "s" * 5000 + " end", ())
    assert "sss" not in kept


@given(st.text())
def test_no_output_is_too_long_or_breaks_it(text: str) -> None:
    assert len(hook_output.kept(text * 50, {"secret"}).encode()) <= hook_output.LIMIT


def test_secrets_are_found_among_options() -> None:
    options = {
        "repository": {"password": "canary-1", "password_file": "/etc/p", "url": "s3:x", "secret_key": "canary-2"},
        "api_key": "canary-3",
        "kubeconfig": {"users": [{"user": {"token": "canary-4"}}]},
        "site": "east",
        "password": None,
    }
    assert hook_output.secrets_in(options) == {"canary-1", "canary-2", "canary-3", "canary-4"}
