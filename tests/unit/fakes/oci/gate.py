# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what at a fake registry, and its token service."""

from __future__ import annotations

import base64
import time
import uuid
from dataclasses import dataclass, field
from email.message import Message
from typing import Any


@dataclass
class Gate:
    """``auth`` is ``none``, ``basic`` or ``bearer``; ``users`` are passwords by name.

    Of bearer tokens: ``identity`` are refresh tokens that count as logins. ``anonymous`` are the actions that a token
    without a login gives. ``expires_in`` is what the service says (``None``: nothing), ``valid`` how many requests a
    token really serves. ``answer_key`` names the token in the service's answer. ``prefix`` stands before the
    repositories' names in scopes. ``realm`` is where the service is, if not here.
    """

    auth: str = "none"
    users: dict[str, str] = field(default_factory=lambda: {"muster": "secret"})
    identity: set[str] = field(default_factory=set)
    anonymous: frozenset[str] = frozenset()
    expires_in: int | None = 300
    valid: int = 1_000_000
    answer_key: str = "token"
    prefix: str = ""
    realm: str = ""
    tokens: dict[str, set[str]] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)

    def token(self, headers: Message, form: dict[str, list[str]]) -> dict[str, Any] | None:
        """The token service's answer; ``None`` where it refuses."""
        scopes = [part for scope in form.get("scope", []) for part in scope.split()]
        self.asked.append(scopes)
        if form.get("grant_type") == ["refresh_token"]:
            if form.get("refresh_token", [""])[0] not in self.identity:
                return None
        elif "Authorization" in headers:
            if not self._user(headers):
                return None
        elif self.anonymous:
            scopes = [self._reduced(scope) for scope in scopes]
        else:
            return None
        token = uuid.uuid4().hex
        self.tokens[token] = set(scopes)
        self.left[token] = self.valid
        self.ends[token] = time.monotonic() + (60 if self.expires_in is None else self.expires_in)
        return {self.answer_key: token, **({} if self.expires_in is None else {"expires_in": self.expires_in})}

    def challenge(self, headers: Message, repository: str, write: bool, host: str) -> str | None:
        """What to answer a request with that is not allowed; ``None`` for one that is."""
        if self.auth == "none" or (self.auth == "basic" and self._user(headers)):
            return None
        if self.auth == "basic":
            return 'Basic realm="fake"'
        need = "push" if write else "pull"
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if self.left.get(token, 0) > 0 and self.ends[token] > time.monotonic():
            for scope in self.tokens.get(token, ()):
                _kind, name, actions = scope.split(":")
                if name == self.prefix + repository and need in actions.split(","):
                    self.left[token] -= 1
                    return None
        scope = f"repository:{self.prefix}{repository}:" + ("pull,push" if write else "pull")
        realm = self.realm or f"http://{host}/token"
        known = ',error="insufficient_scope"' if token in self.tokens else ""
        return f'Bearer realm="{realm}",service="fake",scope="{scope}"{known}'

    def _user(self, headers: Message) -> str | None:
        value = headers.get("Authorization", "")
        if not value.startswith("Basic "):
            return None
        user, _colon, password = base64.b64decode(value[6:]).decode().partition(":")
        return user if self.users.get(user) == password else None

    def _reduced(self, scope: str) -> str:
        what, _colon, actions = scope.rpartition(":")
        return f"{what}:{','.join(action for action in actions.split(',') if action in self.anonymous)}"
