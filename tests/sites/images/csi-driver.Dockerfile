# The test driver. The programs that it calls (mkfs, mount, losetup, …) are in the userland.
ARG userland
FROM $userland
COPY csi-driver /usr/local/bin/csi-driver
ENTRYPOINT ["/usr/local/bin/csi-driver"]
