# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Which images must be signed by whom, and the verdict on each: offline, by the keys that the user trusts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput, MusterError
from ansible_collections.muster.container_dr.plugins.module_utils._oci import signature_keys
from ansible_collections.muster.container_dr.plugins.module_utils._oci.reference import Reference, matches
from ansible_collections.muster.container_dr.plugins.module_utils._oci.signature_formats import Signed
from ansible_collections.muster.container_dr.plugins.module_utils._oci.signature_keys import Key

_REASONS = 3
_LONGEST = 300


@dataclass(frozen=True)
class Rule:
    """What holds for images whose ``host/repository`` matches the glob; ``policy`` is off, report or require."""

    pattern: str
    policy: str
    keys: tuple[Key, ...] = ()
    threshold: int = 1

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Rule:
        """A rule from its options; :class:`InvalidInput` for keys that cannot be used or a rule that none can meet."""
        pattern, policy, threshold = options["pattern"], options["policy"], options["threshold"]
        keys: tuple[Key, ...] = ()
        if policy != "off":
            keys = tuple(dict.fromkeys(key for given in options["keys"] for key in signature_keys.load(given)))
        reason = ""
        if threshold < 1:
            reason = f"threshold is {threshold}"
        elif policy == "require" and not keys:
            reason = "it requires signatures and names no key"
        elif keys and threshold > len(keys):
            reason = f"threshold is {threshold} and it names {len(keys)} keys"
        if reason:
            raise InvalidInput("use", f"signature rule {pattern}", reason, "Correct keys or threshold.")
        return cls(pattern, policy, keys, threshold)


@dataclass(frozen=True)
class Verdict:
    """``verdict`` is ``verified``, ``unsigned``, ``invalid``, ``not_verified`` or ``off``; ``reason`` says why.

    ``signed_by`` has the fingerprints of the trusted keys that signed, no more than the threshold asks for.
    """

    verdict: str
    policy: str
    signed_by: tuple[str, ...] = ()
    reason: str = ""

    @property
    def refused(self) -> bool:
        """Whether the policy keeps the image from being used."""
        return self.policy == "require" and self.verdict != "verified"


class Trust:
    """The rules of a run, in the user's order; safe to use from many threads."""

    def __init__(self, options: Iterable[Mapping[str, Any]]) -> None:
        self._rules = [Rule.of(each) for each in options]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def verdict(self, name: str, signed: Signed) -> Verdict:
        """The verdict on what is called ``name`` in the workload."""
        written = Reference.anywhere(name)
        rule = next((rule for rule in self._rules if matches(rule.pattern, written)), None)
        return judge(signed, rule) if rule and rule.policy != "off" else Verdict("off", "off")


def judge(signed: Signed, rule: Rule) -> Verdict:
    """Look at one signature after the other until enough keys have signed."""
    signers: dict[str, None] = {}
    invalid: list[str] = []
    others: list[str] = []
    unseen: list[str] = []
    try:
        for signature in signed.signatures():
            key = next((key for key in rule.keys if key.made(signature.signature, signature.message)), None)
            text = signature.where + (f" by key {key.fingerprint}" if key else "")
            if signature.problem:
                invalid.append(f"{text}: {signature.problem}")
            elif key:
                signers[key.fingerprint] = None
                if len(signers) >= rule.threshold:
                    return Verdict("verified", rule.policy, tuple(signers))
            elif signature.identity:
                others.append(f"{text}: present, not verified, as it was {signature.identity}")
            elif not rule.keys:
                others.append(f"{text}: present, not verified, as the rule names no key")
            else:
                invalid.append(f"{text}: none of the trusted keys made it")
    except MusterError as error:
        unseen.append(f"not all signatures could be looked at: {error.reason}")
    if signers:
        invalid.insert(0, f"{len(signers)} of the {rule.threshold} keys that are needed signed it")
    reasons = [*unseen, *invalid, *others]
    if not reasons:
        return Verdict("unsigned", rule.policy, reason="no signature is attached to it")
    verdict = "invalid" if invalid and not unseen else "not_verified"
    return Verdict(verdict, rule.policy, tuple(signers), _joined(reasons))


def _joined(reasons: list[str]) -> str:
    """One line; parts of it come from whoever could write to the registry."""
    lines = ["".join(char if char.isprintable() else "?" for char in reason[:_LONGEST]) for reason in reasons]
    more = f"; and {len(lines) - _REASONS} more" if len(lines) > _REASONS else ""
    return "; ".join(lines[:_REASONS]) + more
