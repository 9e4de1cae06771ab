from __future__ import annotations

import ipaddress
import subprocess

import pytest
from _bed import faults, reset, settings
from _bed.engine import Engine
from _bed.places import Network
from _bed.steps import BedError

NETWORK = Network(ipaddress.IPv4Network("10.130.4.0/23"))


@pytest.fixture
def engine():
    return Engine("unix:///nowhere", True, NETWORK)


def verdict(script, source, target):
    """Walk a rule script as iptables would: True when a packet gets through."""
    chains = {name: [] for name in faults.CHAINS}
    for line in script.splitlines():
        words = line.split()
        if words[:2] == ["$i", "-A"]:
            chains[words[2]].append(words[3:])

    def matches(rule):
        pairs = dict(zip(rule[::2], rule[1::2], strict=True))
        return all(
            ipaddress.ip_address(address) in ipaddress.ip_network(pairs[flag], strict=False)
            for flag, address in (("-s", source), ("-d", target))
            if flag in pairs
        )

    def walk(chain):
        for rule in chains[chain]:
            if matches(rule):
                goal = rule[-1]
                result = walk(goal) if goal in chains else goal
                if result:
                    return result
        return None

    return walk("MUSTER-CUT") != "DROP"


def test_cut_from_everything_leaves_the_site_itself():
    own = ["10.130.4.41", "10.130.4.12", "10.244.0.0/16"]
    script = faults.rules(own, None)
    assert verdict(script, "10.130.4.41", "10.130.4.12")
    assert verdict(script, "10.244.0.7", "10.130.4.12")
    assert verdict(script, "127.0.0.1", "127.0.0.11")
    assert not verdict(script, "10.130.4.41", "10.130.4.51")
    assert not verdict(script, "10.130.5.1", "10.130.4.41")
    assert not verdict(script, "10.130.4.51", "10.244.0.7")


def test_cut_from_a_peer_works_both_ways_and_leaves_the_rest():
    script = faults.rules(["10.130.4.41"], ["10.130.4.51"])
    assert not verdict(script, "10.130.4.41", "10.130.4.51")
    assert not verdict(script, "10.130.4.51", "10.130.4.41")
    assert not verdict(script, "10.244.0.7", "10.130.4.51")
    assert verdict(script, "10.130.4.41", "10.130.4.32")


def test_peers_by_name(bed, engine):
    assert faults.peers(bed, engine, "east", ["s3"]) == [NETWORK.s3("east")]
    assert faults.peers(bed, engine, "east", ["registry:west"]) == [NETWORK.registry("west")]
    assert faults.peers(bed, engine, "east", ["witness"]) == [NETWORK.s3("witness")]
    assert set(faults.peers(bed, engine, "east", ["west"])) == set(NETWORK.site("west", 1))
    assert NETWORK.host_end in faults.peers(bed, engine, "east", ["control"])


def test_peers_count_every_node(bed, engine):
    settings.save(bed, settings.Settings(nodes=2))
    assert NETWORK.node("west", 1) in faults.peers(bed, engine, "east", ["west"])


@pytest.mark.parametrize(("site", "parts", "reason"), [
    ("north", [], "no place 'north'"), ("east", ["disk"], "no 'disk'"), ("witness", ["node"], "no 'node'"),
])  # fmt: skip
def test_what_is_not_there_is_said(bed, engine, site, parts, reason):
    with pytest.raises(BedError, match=reason):
        faults.targets(bed, engine, site, parts)


def test_a_part_of_a_place_is_found_alone(bed, engine):
    (target,) = faults.targets(bed, engine, "west", ["registry"])
    assert (target.container, target.address, target.port) == (f"{bed.name}-west-registry", "10.130.4.21", 5000)


def test_faults_are_remembered_once(bed):
    faults.record(bed, "hang", "east")
    faults.record(bed, "hang", "east")
    assert settings.load(bed).faults == [["hang", "east"]]


@pytest.fixture
def rotten(bed, engine, tmp_path, monkeypatch):
    """The bed, whose S3 is a folder here; and a file in it."""
    file = tmp_path / "object"
    file.write_bytes(b"abc")

    def docker(_engine, verb, container, *words):
        assert (verb, container) == ("exec", f"{bed.name}-east-s3")
        *words, name, position = words
        subprocess.run([*words, name.replace("/data/buckets/muster", str(tmp_path)), position], check=True)

    monkeypatch.setattr(Engine, "docker", docker)
    monkeypatch.setattr(Engine, "states", lambda *words: {f"{bed.name}-east-s3": "running"})
    return bed, file


def test_rot_is_one_bit_and_heal_flips_it_back(rotten, engine):
    bed, file = rotten
    faults.rot(bed, engine, "east", "muster/object", 1)
    assert file.read_bytes() == b"acc"
    with pytest.raises(BedError, match="flipped already"):
        faults.rot(bed, engine, "east", "muster/object", 1)
    faults.heal(bed, engine)
    assert file.read_bytes() == b"abc"
    assert settings.load(bed).faults == []


def test_what_was_reset_is_not_flipped_back(rotten, engine, monkeypatch):
    bed, _file = rotten
    faults.rot(bed, engine, "east", "muster/object", 1)
    faults.record(bed, "hang", "east")
    monkeypatch.setattr(Engine, "docker", lambda *words: None)
    monkeypatch.setattr(reset.stores, "object_store", lambda *words: FakeStore())
    reset.empty_store(bed, engine, "east")
    assert settings.load(bed).faults == [["hang", "east"]]


class FakeStore:
    def make_bucket(self, name):
        assert name == "muster"
