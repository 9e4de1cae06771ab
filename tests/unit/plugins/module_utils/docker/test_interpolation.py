# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of Compose, as its documentation has them."""

from __future__ import annotations

import pytest

from ansible_collections.muster.container_dr.plugins.module_utils._core.errors import InvalidInput
from ansible_collections.muster.container_dr.plugins.module_utils._docker.interpolation import (
    Undetermined,
    environment,
    interpolate,
)

KNOWN = {"SET": "x", "EMPTY": "", "FOREIGN": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web:1", "web:1"),
        ("$SET:${SET}-$SETT_", None),
        ("$SET:${SET}", "x:x"),
        ("$$SET$$", "$SET$"),
        ("${EMPTY}", ""),
        ("${EMPTY-y}${EMPTY:-y}", "y"),
        ("${NONE-y}${NONE:-z}", "yz"),
        ("${SET-y}${SET:-y}", "xx"),
        ("${SET+y}${EMPTY+z}${EMPTY:+a}${NONE+b}", "yz"),
        ("${SET:?must be}${EMPTY?must be}", "x"),
        ("${EMPTY:?must be}", None),
        ("${NONE?must be}", None),
        ("${NONE:-${SET}/${EMPTY:-$SET}}!", "x/x!"),
        ("${NONE:-${NONE}}", None),
        ("${SET:-${NONE}}", "x"),
        ("${NONE}", None),
        ("$NONE", None),
        ("${FOREIGN:-y}", None),
        ("${SET", None),
        ("${SET!}", None),
        ("${}", None),
        ("$", None),
        ("$1", None),
    ],
)
def test_interpolation(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(Undetermined):
            interpolate(text, KNOWN)
    else:
        assert interpolate(text, KNOWN) == expected


def test_environment_files() -> None:
    text = r"""
# a comment
A=1
export B = two words # comment
C='$A # it\'s'   # comment
D="${A} \"quoted\" \$A\tx"
E=${GIVEN}-${B}
A=2
F=$A#not
G: seven
H
I=
J=$NONE
K='over
lines'
GIVEN=ours
L=$GIVEN"""
    assert environment(text.replace("\n", "\r\n"), {"GIVEN": "theirs", "H": "shell"}, "file") == {
        "A": "2",
        "B": "two words",
        "C": "$A # it's",
        "D": '1 "quoted" $A\tx',
        "E": "theirs-two words",
        "F": "2#not",
        "G": "seven",
        "H": "shell",
        "I": "",
        "J": None,
        "K": "over\nlines",
        "GIVEN": "ours",
        "L": "theirs",
    }


@pytest.mark.parametrize("line", ["no assignment", "A='canary", "=canary", "1A=canary", 'A="canary" more'])
def test_a_line_that_is_none_is_named_by_its_number_alone(line: str) -> None:
    with pytest.raises(InvalidInput, match="line 2 is no NAME=VALUE") as raised:
        environment(f"A=1\n{line}\n", {}, "file")
    assert "canary" not in str(raised.value)
