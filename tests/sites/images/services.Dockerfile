# The places' registry and object store, and the programs that faults and probes need.
ARG userland
FROM $userland
COPY bin/ /usr/local/bin/
