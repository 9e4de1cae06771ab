# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house that no linter knows: see CONTRIBUTING.md."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.muster.container_dr.plugins.module_utils._k8s import transform_options
from ansible_collections.muster.container_dr.plugins.modules import k8s_restore

ROOT = Path(__file__).resolve().parents[2]
OURS = "ansible_collections.muster.container_dr.plugins"
UTILS = f"{OURS}.module_utils."
PLUGINS = sorted(path for path in (ROOT / "plugins").rglob("*.py"))
MODULES = sorted(path for path in (ROOT / "plugins" / "modules").glob("*.py") if path.name != "__init__.py")
ENGINE = sorted((ROOT / "plugins" / "module_utils").rglob("*.py"))
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tests" / "sites").rglob("*.md")])
BSD = "# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)"
GPL = (
    "# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)"
)


def name(path: Path) -> str:
    """The path as a test's id."""
    return str(path.relative_to(ROOT))


def load(path: Path) -> Any:
    """One YAML document."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every module that is imported, with its statement; `from package import x` is both `package` and `package.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node, node.module
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def unguarded(body: list[ast.stmt]) -> Iterator[str]:
    """Modules imported when the file is loaded, outside of `try`, `if` and functions."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from {found for _line, found in imports(node)}


def test_the_action_group_has_every_module() -> None:
    groups = load(ROOT / "meta" / "runtime.yml")["action_groups"]
    assert groups == {"all": [path.stem for path in MODULES]}


def test_an_action_plugin_has_a_module_of_its_name() -> None:
    actions = {path.stem for path in (ROOT / "plugins" / "action").glob("*.py")} - {"__init__"}
    assert actions <= {path.stem for path in MODULES}


@pytest.mark.parametrize("path", PLUGINS, ids=name)
def test_the_license_is_stated(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return  # a package marker holds nothing that could be licensed
    head = text.splitlines()[:4]
    if head[0].startswith("#!"):
        head = head[1:]
    engine = path in ENGINE
    assert head[:3] == [
        "# Copyright (c) 2026, Muster contributors",
        BSD if engine else GPL,
        "# SPDX-License-Identifier: " + ("BSD-2-Clause" if engine else "GPL-3.0-or-later"),
    ]


@pytest.mark.parametrize("path", PLUGINS, ids=name)
def test_nothing_is_excused_from_the_linters(path: Path) -> None:
    excuses = re.findall(r"#\s*(?:noqa|type:\s*ignore|pylint:\s*disable|nosec)\b.*", path.read_text(encoding="utf-8"))
    assert not excuses


def test_sanity_has_no_ignore_files() -> None:
    assert not list((ROOT / "tests" / "sanity").glob("ignore*"))


@pytest.mark.parametrize("path", ENGINE, ids=name)
def test_only_the_doorway_meets_ansible_module(path: Path) -> None:
    if path.name == "_module.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    seen = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        found for _line, found in imports(tree)
    }
    assert not {found for found in seen if found.split(".")[-1] in ("AnsibleModule", "exit_json", "fail_json")}


@pytest.mark.parametrize("path", ENGINE, ids=name)
def test_arrows_go_one_way(path: Path) -> None:
    """`_core` needs nothing of ours but itself, `_plan` only `_core`, and nothing imports a module or an action."""
    used = {found for _line, found in imports(ast.parse(path.read_text(encoding="utf-8"))) if found.startswith(OURS)}
    assert not {found for found in used if not found.startswith(UTILS) and found != UTILS.rstrip(".")}
    package = path.relative_to(ROOT / "plugins" / "module_utils").parts[0]
    allowed = {"_core": {"_core"}, "_plan": {"_plan", "_core"}}.get(package)
    packages = {found.removeprefix(UTILS).split(".")[0] for found in used if found.startswith(UTILS)}
    assert allowed is None or packages <= allowed


@pytest.mark.parametrize("path", [*MODULES, *ENGINE], ids=name)
def test_packages_of_others_are_imported_under_guard(path: Path) -> None:
    """What may be missing on a host must not stop the module from saying so."""
    foreign = [
        found
        for found in unguarded(ast.parse(path.read_text(encoding="utf-8")).body)
        if found.split(".")[0] not in sys.stdlib_module_names
        and not found.startswith((OURS, "ansible.module_utils"))
        and found.split(".")[0] != "__future__"
    ]
    assert not foreign


def without_a_circle(graph: dict[str, set[str]]) -> None:
    state: dict[str, str] = {}

    def visit(node: str, trail: tuple[str, ...]) -> None:
        assert state.get(node) != "open", " -> ".join(part.removeprefix(UTILS) for part in (*trail, node))
        if node in state:
            return
        state[node] = "open"
        for target in sorted(graph[node] & graph.keys() - {node}):
            visit(target, (*trail, node))
        state[node] = "closed"

    for start in sorted(graph):
        visit(start, ())


def test_module_utils_import_each_other_without_a_circle() -> None:
    """Neither do their files, nor their packages as wholes."""
    files: dict[str, set[str]] = {}
    packages: dict[str, set[str]] = {}
    for path in ENGINE:
        parts = path.relative_to(ROOT / "plugins" / "module_utils").with_suffix("").parts
        used = {found for _line, found in imports(ast.parse(path.read_text(encoding="utf-8")))}
        files[UTILS + ".".join(parts).removesuffix(".__init__")] = used
        ours = {found.removeprefix(UTILS).split(".")[0] for found in used if found.startswith(UTILS)}
        packages.setdefault(parts[0], set()).update(ours)
    without_a_circle(files)
    without_a_circle(packages)


@pytest.mark.parametrize("role", ROLES, ids=name)
def test_defaults_of_a_role_equal_its_argument_specs(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml") or {}
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {key: spec["default"] for key, spec in options.items() if "default" in spec} == defaults
    assert not {key for key, spec in options.items() if spec.get("required") and "default" in spec}
    assert all(key.startswith(f"{role.name}_") for key in options)


@pytest.mark.parametrize("role", ROLES, ids=name)
def test_the_readme_of_a_role_names_its_variables(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert not [key for key in options if f"`{key}`" not in text]


@pytest.mark.parametrize("role", ["restore", "failover", "drill"])
def test_the_options_of_a_restore_reach_the_module(role: str) -> None:
    """Role variables are checked against the same types, and none is forgotten on the way."""
    passed = set(load(ROOT / "roles/restore/vars/main.yml")["restore_objects_options"])
    own = {"existing_kinds", "exclude_kinds", "ordered"}
    # Classes are the site's.
    assert passed == (transform_options.OPTIONS.arguments.keys() | own) - {"storage_classes"}
    specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    options = specs[f"{role}_options"]["options"]
    assert options.keys() == passed
    for key, spec in options.items():
        wanted = k8s_restore.OPTIONS.arguments[key]
        assert (spec["type"], spec.get("elements")) == (wanted["type"], wanted.get("elements")), key
    text = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    assert not [key for key in passed if f"`{key}`" not in text]


def test_the_readme_names_every_module_and_playbook() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [path.stem for path in (*MODULES, *PLAYBOOKS) if f"`{path.stem}`" not in text]


def anchors(page: Path) -> set[str]:
    """What a page's headings are linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for place, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{place} is not there"
        assert not anchor or anchor in anchors(target), f"{place}#{anchor} is not there"


def documentation(path: Path, variable: str) -> Any:
    """The YAML that a module file assigns to DOCUMENTATION, EXAMPLES or RETURN."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == variable:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{path.name} has no {variable}")


def fragment(reference: str, part: str) -> Any:
    """The options or attributes that a documentation fragment of ours brings."""
    _namespace, _collection, plugin, *section = reference.split(".")
    found = importlib.import_module(f"{OURS}.doc_fragments.{plugin}").ModuleDocFragment
    return yaml.safe_load(getattr(found, (section or ["documentation"])[0].upper())).get(part) or {}


def with_fragments(described: dict[str, Any], part: str) -> dict[str, Any]:
    """Options or attributes of a module: its own word goes before that of its fragments."""
    merged: dict[str, Any] = {}
    for reference in described.get("extends_documentation_fragment", []):
        merged |= fragment(reference, part)
    return merged | (described.get(part) or {})


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_examples_use_options_that_exist(path: Path) -> None:
    described = documentation(path, "DOCUMENTATION")
    options = with_fragments(described, "options")
    tasks = documentation(path, "EXAMPLES")
    used = [task[f"muster.container_dr.{path.stem}"] for task in tasks if f"muster.container_dr.{path.stem}" in task]
    assert used, "no example shows the module"
    for arguments in used:
        assert set(arguments) <= set(options)
        required = {key for key, option in options.items() if option.get("required")}
        assert required <= set(arguments)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_return_keys_are_no_names_of_dict_methods(path: Path) -> None:
    """A template's `result.items` would be the method."""

    def keys(values: dict[str, Any]) -> Iterator[str]:
        for key, value in values.items():
            yield key
            yield from keys(value.get("contains") or {})

    assert not set(keys(documentation(path, "RETURN") or {})) & set(dir(dict))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_what_check_mode_and_repetition_do(path: Path) -> None:
    described = documentation(path, "DOCUMENTATION")
    assert described["version_added"]
    assert {"check_mode", "diff_mode", "idempotent"} <= set(with_fragments(described, "attributes"))
