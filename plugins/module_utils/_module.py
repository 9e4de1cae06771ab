# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The only place where the engine meets ``AnsibleModule``: a module file calls :func:`run` and nothing else."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.muster.container_dr.plugins.module_utils._core import backends, clock
from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    REPOSITORY_ARGUMENTS,
    Options,
    Spec,
)
from ansible_collections.muster.container_dr.plugins.module_utils._core.progress import Progress, ProgressFile, Silent
from ansible_collections.muster.container_dr.plugins.module_utils._core.requirement import Requirement

# A password with a slash ends the server's name for any program, and is a secret all the same. What looks like a port
# before a slash is one.
_LOGIN = re.compile(
    r"^(?:[a-z0-9+:]*://|(?:rest|s3):(?!https?:|http\+unix:))[^/:@\[]*:(?!\d+/)([^/]+|.+)@", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class Request:
    """What a verb of the engine is asked to do."""

    params: dict[str, Any]
    check_mode: bool
    diff: bool
    progress: Progress
    warn: Callable[[str], None]


Verb = Callable[[Request], dict[str, Any]]


def _in_urls(value: Any) -> set[str]:
    """Passwords in URLs among the options, such as ``rest:https://user:password@server/``."""
    if isinstance(value, str):
        return {form for found in _LOGIN.findall(value) for form in (found, unquote(found))}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {found for one in inner for found in _in_urls(one)}


def _guard_environments(options: Options, module: AnsibleModule) -> None:
    """Keep what is secret of repositories' ``environment`` out of results, in every form, and let the rest be seen.

    All values are kept out of the log. But the name of a user or of a region may be that of a site or of a volume, and
    later tasks read those in the result.
    """
    places = [name for name, option in options.arguments.items() if option.get("options") is REPOSITORY_ARGUMENTS]
    given = [(module.params.get(name) or {}).get("environment") for name in places]
    secret = set(_secrets(options.arguments, module.params)) | {text for one in given for text in backends.hidden(one)}
    module.no_log_values.difference_update({text for one in given for text in backends.plain(one)} - secret)
    module.no_log_values.update(secret)


def _secrets(spec: Spec, values: Mapping[str, Any]) -> Iterator[str]:
    """The texts that options without parts, or inside of others, keep secret."""
    for name, option in spec.items():
        value = values.get(name)
        if option.get("no_log") and isinstance(value, str) and value:
            yield value
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from _secrets(option.get("options") or {}, one)


def run(options: Options, verb: Verb, requirements: Sequence[Requirement] = ()) -> None:
    """Read the options, call the verb once, and end the module with its result or with one clear message.

    Every result says when the module ``started`` (RFC 3339, UTC) and how many ``seconds`` it took, so that a play has
    its timeline. A :class:`MusterError` becomes a failed task that carries the partial result. Anything else is a bug
    and shows its traceback.
    """
    module = AnsibleModule(**options.module_arguments())
    # Which the result repeats with the other options.
    module.no_log_values.update(_in_urls(module.params))
    _guard_environments(options, module)
    for requirement in requirements:
        if requirement.import_error is not None:
            module.fail_json(msg=missing_required_lib(requirement.package), exception=requirement.import_error)
    progress_file = module.params.get("progress_file")
    request = Request(
        params=module.params,
        check_mode=module.check_mode,
        diff=bool(module._diff),
        progress=ProgressFile(progress_file) if progress_file else Silent(),
        warn=module.warn,
    )
    started, watch = clock.now(), clock.Stopwatch()

    def timed(result: dict[str, Any]) -> dict[str, Any]:
        return {**result, "started": clock.iso(started), "seconds": watch.seconds}

    try:
        result = verb(request)
    except MusterError as error:
        module.fail_json(**timed({"changed": False, **error.result, "msg": str(error)}))
    except Exception as error:
        module.fail_json(
            msg=f"Unexpected {type(error).__name__} in this module; this is a bug in muster.container_dr: {error}",
            exception=traceback.format_exc(),
        )
    else:
        module.exit_json(**timed(result))
