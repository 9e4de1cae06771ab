from __future__ import annotations

import ipaddress

from _bed import places
from _bed.places import SITES, WITNESS, Bed, Network

BLOCK = ipaddress.IPv4Network("10.130.4.0/23")


def test_two_clones_have_two_names(tmp_path):
    names = {Bed(tmp_path / name).name for name in ("one", "two")}
    assert len(names) == 2
    assert Bed(tmp_path / "one").name in names


def test_names_fit_where_the_kernel_and_kubernetes_put_them(bed):
    assert len(f"muster{bed.id}br") <= 15
    assert all(len(name) <= 63 for site in SITES for name in bed.nodes(site, 2))


def test_nodes_are_named_as_kind_names_them(bed):
    assert bed.nodes("east", 3) == [
        f"{bed.name}-east-control-plane",
        f"{bed.name}-east-worker",
        f"{bed.name}-east-worker2",
    ]


def test_no_two_things_share_an_address():
    network = Network(BLOCK)
    used = [network.gateway, network.host_end, network.engine_end, network.default_bridge.split("/")[0]]
    used += [address for site in (*SITES, WITNESS) for address in network.site(site, 2)]
    assert len(set(used)) == len(used)
    assert all(ipaddress.IPv4Address(address) in BLOCK for address in used)


def test_fixed_addresses_are_away_from_those_the_engine_gives_out():
    network = Network(BLOCK)
    fixed = [address for site in (*SITES, WITNESS) for address in network.site(site, 2)]
    assert not any(ipaddress.IPv4Address(address) in network.dynamic for address in fixed)


def test_link_to_the_machine_is_one_small_network():
    network = Network(BLOCK)
    link = ipaddress.IPv4Network(f"{network.host_end}/30", strict=False)
    assert ipaddress.IPv4Address(network.engine_end) in link
    assert not link.overlaps(ipaddress.IPv4Interface(network.default_bridge).network)
    assert not link.overlaps(network.sites)


def test_block_is_the_same_each_time_and_avoids_what_is_taken():
    first = places.free_block("abc", [])
    assert first == places.free_block("abc", [])
    second = places.free_block("abc", [ipaddress.IPv4Network(f"{first[0]}/32")])
    assert second not in (None, first)


def test_no_block_when_all_is_taken():
    assert places.free_block("abc", [ipaddress.IPv4Network("10.0.0.0/8")]) is None


def test_blocks_are_clear_of_pods_and_services():
    ranges = [ipaddress.IPv4Network(r) for r in (*places.POD_SUBNET.values(), *places.SERVICE_SUBNET.values())]
    assert not any(block.overlaps(other) for block in places.candidates("abc") for other in ranges)


def test_cache_folder_can_be_chosen(bed, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("MUSTER_CACHE", raising=False)
    assert bed.cache == tmp_path / "xdg/muster"
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "mine"))
    assert bed.cache == tmp_path / "mine"
