# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The small scripts that movers run around restic.

They need a POSIX shell and what busybox has, as the official restic image does. Each prints restic's JSON lines as they
come and leaves its report, one fact a line, as the container's termination message::

    code 0
    summary {"message_type":"summary",...}
    files 12
    bytes 4096
    error {"message_type":"error",...}
"""

from __future__ import annotations

# Exit codes of our own, above restic's and below the shell's.
NOT_EMPTY = 90
NO_DATA = 91

_COMMON = r"""
set -u
umask 077
mkdir -p /tmp/muster
RESTIC_PASSWORD_FILE=/muster/password; export RESTIC_PASSWORD_FILE
if [ -s /muster/access_key ]; then
  AWS_ACCESS_KEY_ID=$(cat /muster/access_key); AWS_SECRET_ACCESS_KEY=$(cat /muster/secret_key)
  export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
fi
if [ -s /muster/session_token ]; then AWS_SESSION_TOKEN=$(cat /muster/session_token); export AWS_SESSION_TOKEN; fi
if [ -s /muster/ca.pem ]; then RESTIC_CACERT=/muster/ca.pem; export RESTIC_CACERT; fi
report() { printf '%s\n' "$*" >> /tmp/muster/report; }
leave() { head -c 4000 /tmp/muster/report > /dev/termination-log; exit "$1"; }
: > /tmp/muster/report
cd /volume || { report "code 91"; leave 91; }
watch() {
  errors=0
  while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in
      *'"message_type":"summary"'*) printf '%s\n' "$line" > /tmp/muster/summary ;;
      *'"message_type":"status"'*|*'"message_type":"verbose_status"'*) ;;
      *'"message_type":"exit_error"'*) printf '%.600s\n' "$line" > /tmp/muster/last ;;
      ?*) if [ "$errors" -lt 5 ]; then errors=$((errors+1)); printf '%.400s\n' "$line" >> /tmp/muster/errors; fi ;;
    esac
  done
}
ended() { wait $pid; code=$?; while kill -0 $pid 2>/dev/null; do wait $pid; code=$?; done; }
run() {
  mkfifo /tmp/muster/pipe
  watch < /tmp/muster/pipe & reader=$!
  "$@" > /tmp/muster/pipe 2>&1 & pid=$!
  trap 'kill -TERM $pid 2>/dev/null' TERM INT
  ended
  wait $reader
}
finish() {
  report "code $code"
  if [ -s /tmp/muster/summary ]; then report "summary $(cat /tmp/muster/summary)"; fi
  if [ -s /tmp/muster/last ]; then report "error $(cat /tmp/muster/last)"; fi
  if [ -s /tmp/muster/errors ]; then
    while IFS= read -r line; do report "error $line"; done < /tmp/muster/errors
  fi
  leave "$code"
}
"""

BACKUP = (
    _COMMON
    + r"""
run restic --json --no-cache "$@"
finish
"""
)

RESTORE = (
    _COMMON
    + r"""
total() { sum=0; while read -r n; do sum=$((sum+n)); done; echo $sum; }
# Says on the volume itself that it was empty and is ours to fill, so that a second pod or run goes on where the first
# was killed. It is not in the snapshot: restic's --delete takes it away at the end.
begun=data/.muster-restore-unfinished
if [ "$MUSTER_ONLY_IF_EMPTY" = yes ] && [ ! -f "$begun" ]; then
  for name in data/* data/.[!.]* data/..?*; do
    if { [ -e "$name" ] || [ -h "$name" ]; } && [ "$name" != data/lost+found ]; then
      report "code 90"; report "error found $name"; leave 90
    fi
  done
  printf '' > "$begun"
fi
run restic --json --no-cache "$@"
if [ "$code" = 0 ]; then
  report "files $(find data -type f -exec sh -c 'for f; do echo; done' sh {} + | wc -l)"
  report "bytes $(find data -type f -exec stat -c %s {} + | total)"
fi
finish
"""
)

# A volume in block mode is the device /volume/data. It is told to be all zeros before a first restore, because nothing
# on it can say afterwards what was there.
LOOK_AT_DEVICE = (
    _COMMON
    + r"""
if [ "$(tr -d '\000' < data | head -c 1 | wc -c)" -gt 0 ]; then
  report "code 90"; report "error found data/other bytes than zeros"; leave 90
fi
report "code 0"; report 'summary {"message_type":"summary"}'; leave 0
"""
)

# Only parts that differ are written: a device that is thin stays so where both have zeros, and a second pod goes on
# where the first was killed.
RESTORE_DEVICE = (
    _COMMON
    + r"""
part() { dd if=data bs=1M skip="$1" count=16 2>/dev/null | head -c "$2" | sha256sum; }
mkfifo /tmp/muster/stream
restic --json --no-cache "$@" > /tmp/muster/stream 2> /tmp/muster/said & pid=$!
trap 'kill -TERM $pid 2>/dev/null' TERM INT
exec 3< /tmp/muster/stream
: > /tmp/muster/parts
at=0 size=0 failed=
while :; do
  dd bs=1M count=16 iflag=fullblock <&3 > /tmp/muster/part 2> /tmp/muster/dd || failed=yes
  length=$(stat -c %s /tmp/muster/part)
  if [ -n "$failed" ] || [ "$length" = 0 ]; then break; fi
  sum=$(sha256sum < /tmp/muster/part)
  if [ "$sum" != "$(part $at "$length")" ]; then
    dd if=/tmp/muster/part of=data bs=1M seek=$at conv=notrunc 2> /tmp/muster/dd || { failed=yes; break; }
  fi
  echo "$at $length $sum" >> /tmp/muster/parts
  at=$((at+16)); size=$((size+length))
  printf '{"message_type":"status","bytes_restored":%s}\n' $size
done
if [ -n "$failed" ]; then kill -TERM $pid 2>/dev/null; cp /tmp/muster/dd /tmp/muster/said; fi
exec 3<&-
ended
if [ -n "$failed" ]; then code=1; fi
watch < /tmp/muster/said
if [ "$code" = 0 ]; then
  dd if=/dev/null of=data conv=notrunc,fsync 2> /tmp/muster/dd || { code=1; cp /tmp/muster/dd /tmp/muster/errors; }
fi
if [ "$code" = 0 ] && [ "$MUSTER_VERIFY" = yes ]; then
  while read -r at length sum; do
    if [ "$(part "$at" "$length")" != "$sum" ]; then
      code=1; echo "what was written from MiB $at on is not what is read there" >> /tmp/muster/errors; break
    fi
  done < /tmp/muster/parts
fi
if [ "$code" = 0 ]; then
  printf '{"message_type":"summary","total_bytes":%s}\n' $size > /tmp/muster/summary
  report "files 1"; report "bytes $size"
fi
finish
"""
)
