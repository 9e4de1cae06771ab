# What both the nodes and the programs on them need of Debian.
FROM debian:bookworm-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends \
    btrfs-progs busybox ca-certificates catatonit conntrack curl e2fsprogs iproute2 ipset iptables jq kmod nftables \
    openssl procps util-linux xfsprogs \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
