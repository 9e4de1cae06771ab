ARG userland
FROM $userland AS userland
FROM scratch
COPY --from=userland /usr/bin/catatonit /pause
ENTRYPOINT ["/pause", "-P"]
