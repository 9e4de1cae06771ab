from __future__ import annotations

import base64
import importlib.machinery
import importlib.util
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "sites" / "canary"
VALUE = 'can"ary/0123456789'


@pytest.fixture(scope="module")
def canary():
    loader = importlib.machinery.SourceFileLoader("canary", str(FILE))
    spec = importlib.util.spec_from_loader("canary", loader)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


@pytest.mark.parametrize("text", [
    VALUE, "x" + VALUE + "y", base64.b64encode(VALUE.encode()).decode(), "can%22ary%2F0123456789",
    '{"password": "can\\"ary/0123456789"}',
])  # fmt: skip
def test_a_secret_is_seen_in_every_form(canary, text):
    assert canary.Secrets({"it": VALUE}).inside(text.encode()) == {"it"}


def test_what_is_no_secret_is_not_seen(canary):
    secrets = canary.Secrets(
        {"it": VALUE, "short": "abc", "key": "-----BEGIN KEY-----\nQUJDREVGR0g=\n-----END KEY-----"}
    )
    assert not secrets.inside(b"canary abc -----BEGIN KEY-----")
    assert secrets.inside(b"... QUJDREVGR0g= ...") == {"key"}


def test_files_are_read_whole_and_what_is_kept_is_left_out(canary, tmp_path, monkeypatch):
    monkeypatch.setattr(canary, "_CHUNK", 7)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/secret").write_text(VALUE)
    (tmp_path / "leak").write_text("." * 11 + VALUE)
    (tmp_path / "fine").write_text("nothing")
    secrets = canary.Secrets({"it": VALUE})
    findings = canary.Findings(secrets)
    canary.read_files(findings, secrets, [tmp_path, tmp_path / "absent"], [tmp_path / "kept"])
    assert findings.found == {("it", f"file {tmp_path / 'leak'}")}
    assert findings.seen == {"files": 2}


def test_a_command_line_is_seen(canary):
    findings, end = canary.Findings(canary.Secrets({"it": VALUE})), threading.Event()
    watch = threading.Thread(target=canary.watch_processes, args=(findings, end))
    watch.start()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", VALUE]) as shown:
        while not findings.found and shown.poll() is None:
            time.sleep(0.01)
        shown.kill()
    end.set()
    watch.join()
    assert [name for name, where in findings.found] == ["it"]
    assert findings.seen["processes"] > 1


def test_a_pod_is_seen_and_movers_are_counted(canary):
    findings = canary.Findings(canary.Secrets({"it": VALUE}))
    encoded = base64.b64encode(VALUE.encode()).decode()
    labels = '{"container-dr.muster.dev/role": "mover"}'
    pods = "".join(f'{{"metadata": {{"uid": "1", "labels": {labels}}}, "env": "{text}"}}\\n' for text in ("", encoded))
    end = canary.watch_pods(findings, "east", ["printf", pods])
    while "movers" not in findings.seen:  # counted at the end of the output
        time.sleep(0.01)
    end()
    assert findings.found == {("it", "pods and Jobs of east")}
    assert findings.seen == {"versions of pods and Jobs": 2, "movers": 1}
