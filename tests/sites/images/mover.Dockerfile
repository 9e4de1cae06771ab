# What moves data in and out of volumes: restic, the ssh that it runs for SFTP, and enough of a shell to look around.
FROM debian:bookworm-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends busybox ca-certificates jq openssh-client \
    && busybox --install -s /usr/local/bin \
    && rm -f /usr/local/bin/sh /usr/local/bin/apt* /usr/local/bin/dpkg* \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
COPY bin/restic /usr/bin/restic
