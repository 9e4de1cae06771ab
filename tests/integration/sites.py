# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two real sites, and the modules as Ansible runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BED = ROOT / "tests" / "sites" / "bed"
JSON = dict[str, Any]
_LOADER = SourceFileLoader("during", str(ROOT / "tests" / "sites" / "during"))
during: Any = module_from_spec(spec_from_loader("during", _LOADER))
_LOADER.exec_module(during)


def bed(*words: str) -> None:
    """A verb of the test bed."""
    subprocess.run([BED, *words], check=True, stdout=subprocess.DEVNULL)


def settings() -> dict[str, str]:
    """The environment without what Molecule sets for the Ansible that it runs itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {
        "ANSIBLE_NOCOLOR": "1"
    }


def ad_hoc(module: str, arguments: JSON, *, check: bool = False) -> subprocess.Popen[str]:
    """One module, started by Ansible's own program."""
    command: list[str | Path] = [
        ROOT / "tools" / "run",
        "ansible",
        "localhost",
        "-c",
        "local",
        "-m",
        f"muster.container_dr.{module}",
        "-a",
        json.dumps(arguments),
    ]
    # The same Python as the tests: it has the packages that modules need.
    command += ["-e", "ansible_python_interpreter={{ ansible_playbook_python }}", *(["--check"] if check else [])]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings(), start_new_session=True
    )


def run(module: str, *, check: bool = False, **options: Any) -> JSON:
    """One module, and what it returned."""
    return result_of(ad_hoc(module, options, check=check))


def kill(started: subprocess.Popen[str]) -> None:
    """Kill a run with all that it started; modules are in sessions of their own and would go on."""
    started.send_signal(signal.SIGSTOP)
    during.kill_below(started.pid)
    started.kill()
    started.communicate()


class Site:
    """One of the clusters, with kubectl and the collection's modules."""

    def __init__(self, name: str, facts: JSON, repository: JSON) -> None:
        self.name = name
        self.facts = facts["sites"][name]
        self.kubeconfig = str(self.facts["kubeconfig"])
        self.repository = repository
        self._ca = str(facts["ca_file"])
        self._docker = str(facts["docker_host"])
        self._kubectl = str(facts["tools"]["kubectl"])
        self._started: list[subprocess.Popen[str]] = []

    def registry(self, path: str = "") -> JSON:
        """The site's registry, or a path in it, as options of ``image_mirror``."""
        facts = self.facts["registry"]
        password = Path(facts["password_file"]).read_text(encoding="utf-8").strip()
        name = f"{facts['name']}/{path}" if path else str(facts["name"])
        return {"name": name, "username": facts["username"], "password": password, "ca_cert": self._ca}

    def store(self, url: str) -> JSON:
        """A bucket and prefix in the site's object store."""
        facts = self.facts["s3"]
        return {
            "endpoint_url": facts["endpoint_url"],
            "access_key": facts["access_key"],
            "secret_key": Path(facts["secret_key_file"]).read_text(encoding="utf-8").strip(),
            "region": facts["region"],
            "ca_cert": self._ca,
            "url": url,
        }

    def repository_at(self, path: str) -> JSON:
        """A repository at ``BUCKET/PREFIX`` in the site's object store, with the usual password."""
        store = self.store("")
        login = {key: store[key] for key in ("access_key", "secret_key", "region", "ca_cert")}
        return {**self.repository, **login, "url": f"s3:{store['endpoint_url']}/{path}"}

    def in_node(self, *words: str, feed: str | None = None) -> str:
        """Run a command in the site's first node; ``feed`` is its input."""
        command = ["docker", "-H", self._docker, "exec", "-i", str(self.facts["node"]), *words]
        return subprocess.run(command, input=feed or "", capture_output=True, text=True, check=True).stdout

    def node_root(self) -> Path:
        """The root folder of the site's first node, as root of this machine sees it."""
        command = ["docker", "-H", self._docker, "inspect", "-f", "{{.State.Pid}}", str(self.facts["node"])]
        pid = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        return Path("/proc", pid, "root")

    def kubectl(self, *words: str, feed: Any = None, fails: bool = False) -> str:
        command = [self._kubectl, f"--kubeconfig={self.kubeconfig}", *words]
        text = None if feed is None else feed if isinstance(feed, str) else json.dumps(feed)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if bool(done.returncode) is not fails:
            raise AssertionError(f"{' '.join(command)}: {done.returncode} {done.stdout[-500:]} {done.stderr[-2000:]}")
        return done.stdout + (done.stderr if fails else "")

    def apply(self, *objects: JSON) -> None:
        self.kubectl("apply", "--server-side", "-f", "-", feed={"apiVersion": "v1", "kind": "List", "items": objects})

    def get(self, *words: str) -> JSON:
        value: JSON = json.loads(self.kubectl("get", *words, "-o", "json"))
        return value

    def names(self, kind: str, namespace: str) -> list[str]:
        return self.kubectl("get", kind, "-n", namespace, "-o", "name").split()

    def start(self, module: str, *, check: bool = False, **options: Any) -> subprocess.Popen[str]:
        """Start one module by Ansible's own program."""
        arguments = {"kubeconfig": self.kubeconfig, "repository": self.repository, **options}
        started = ad_hoc(module, arguments, check=check)
        self._started.append(started)
        return started

    def end(self) -> None:
        """Nothing of a test runs on after it."""
        for started in self._started:
            if started.poll() is None:
                kill(started)
        self._started.clear()

    def run(self, module: str, *, check: bool = False, **options: Any) -> JSON:
        return result_of(self.start(module, check=check, **options))


def result_of(started: subprocess.Popen[str]) -> JSON:
    """What the module returned, failed or not."""
    out, err = started.communicate(timeout=600)
    text = out + err
    for mark in ("SUCCESS => ", "CHANGED => ", "FAILED! => "):
        at = text.find(f"localhost | {mark}")
        if at >= 0:
            value, _end = json.JSONDecoder().raw_decode(text[at + len(f"localhost | {mark}") :])
            # The program takes the key out and says it by its mark instead.
            return {"failed": "FAILED" in mark, **value}
    raise AssertionError(f"no result in: {text[-3000:]}")


def good(result: JSON) -> JSON:
    """The result, if it is one of success."""
    assert not result["failed"], result["msg"]
    return result


def entries(result: JSON) -> dict[str, JSON]:
    return {str(entry["name"]): entry for entry in result["objects"]}


def thing(kind: str, name: str, namespace: str = "", api_version: str = "v1", **more: Any) -> JSON:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def config_maps(namespace: str, number: int) -> list[JSON]:
    return [thing("ConfigMap", f"c{index:05d}", namespace, data={"a": str(index)}) for index in range(number)]


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it was not so after {seconds:g} s"
        time.sleep(0.2)
