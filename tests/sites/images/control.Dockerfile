# Every program that runs as a pod of the bed's own, under whatever image name it is looked for.
ARG userland
FROM $userland
COPY bin/ /usr/local/bin/
