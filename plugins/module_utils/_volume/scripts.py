# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The small scripts that movers run around restic.

They need a POSIX shell and what busybox has, as the official restic image does. Each prints restic's JSON lines as they
come and leaves its report, one fact a line, as the container's termination message, or in the file ``MUSTER_REPORT``::

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
IN_THE_WAY = 92
DIFFERS = 93
CANNOT_HOLD = 94
TOO_OLD = 95
FINAL = (NOT_EMPTY, NO_DATA, IN_THE_WAY, DIFFERS, CANNOT_HOLD, TOO_OLD)

_COMMON = r"""
set -u
umask 077
mkdir -p /tmp/muster
RESTIC_PASSWORD_FILE=/muster/password; export RESTIC_PASSWORD_FILE
# Ends with the pod. Without it each folder would be a request of its own, one after the other.
RESTIC_CACHE_DIR=/tmp/muster/cache; export RESTIC_CACHE_DIR
# What a shell reads of a command loses the lines that are empty at its end.
for file in /muster/env.*; do
  if [ -s "$file" ]; then value=$(cat "$file"; echo .); export "${file#/muster/env.}=${value%.}"; fi
done
if [ -s /muster/google.json ]; then
  GOOGLE_APPLICATION_CREDENTIALS=/muster/google.json; export GOOGLE_APPLICATION_CREDENTIALS
fi
if [ -s /muster/ca.pem ]; then RESTIC_CACERT=/muster/ca.pem; export RESTIC_CACERT; fi
ssh=${MUSTER_SSH:+sftp.args=$MUSTER_SSH}
report() { printf '%s\n' "$*" >> /tmp/muster/report; }
leave() { head -c 4000 /tmp/muster/report > "${MUSTER_REPORT:-/dev/termination-log}"; exit "$1"; }
: > /tmp/muster/report
cd /volume || { report "code 91"; leave 91; }
# Of "restic 0.19.1 compiled with ..."; what says nothing of the kind is left to what comes.
version=$(restic version 2> /dev/null); version=${version#restic }; version=${version%% *}
case $version in
  0.[0-9].*|0.1[0-7].*) report "code 95"; report "error $version"; leave 95 ;;
esac
watch() {
  errors=0
  while IFS= read -r line; do
    # restic repeats the URLs of requests that fail, and logs have more readers than secrets.
    case ${AZURE_ACCOUNT_SAS:+$line} in
      *sig=*) line=$(printf '%s\n' "$line" | sed 's/sig=[^&"\\ ]*/sig=***/g') ;;
    esac
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
  rm -f /tmp/muster/pipe; mkfifo /tmp/muster/pipe
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
run restic ${ssh:+-o "$ssh"} --json "$@"
finish
"""
)

# Compares what is on the volume with the listing that restic has of the snapshot: kind, mode, owner, group, size and
# second of the last change of every path. Both sides are spread over small files by path, so that a million entries
# take little memory; names that are not plain text are told apart by all but the characters that are not. No sort: that
# of busybox holds everything in memory; no xargs: that of busybox 1.35 mixes up long input. A name may have lines, so
# that two slashes tell where it ends.
_TREE = r"""
put='
BEGIN { for (i = 32; i < 127; i++) code[sprintf("%c", i)] = i }
function put(side, facts, path,  n, spread) {
  gsub(/[?]+/, "?", path); n = length(path)
  spread = (n + 7 * code[substr(path, n)] + 31 * code[substr(path, n - 1, 1)] + 97 * code[substr(path, n - 2, 1)]) % 64
  print side, facts "\t" path >> ("/tmp/muster/tree/" spread)
  total++
}
END { print total + 0 }'
recorded='
function text(key) {
  return match($0, "\"" key "\":\"[^\"]*\"") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 5) : ""
}
function number(key) {
  return match($0, "\"" key "\":[0-9]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "0"
}
function seconds(time,  year, month, days, offset) {
  year = substr(time, 1, 4); month = substr(time, 6, 2) + 0
  if (month < 3) { year--; month += 12 }
  days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * (month - 3) + 2) / 5)
  days += substr(time, 9, 2) - 719469
  if (time ~ /[0-9]$/) {
    offset = substr(time, length(time) - 4, 2) * 3600 + substr(time, length(time) - 1) * 60
    if (substr(time, length(time) - 5, 1) == "-") offset = -offset
  }
  return days * 86400 + substr(time, 12, 2) * 3600 + substr(time, 15, 2) * 60 + substr(time, 18, 2) - offset
}
BEGIN { kind["file"] = "f"; kind["dir"] = "d"; kind["symlink"] = "l"; kind["fifo"] = "p"; kind["dev"] = "b" }
BEGIN { kind["chardev"] = "c" }
/"struct_type":"node"/ {
  gsub(/\\(u[0-9a-f][0-9a-f][0-9a-f][0-9a-f]|.)/, "?")
  type = text("type"); mode = number("mode")
  # No file system keeps sockets for others than those who listen: restic leaves them out.
  if (type == "socket") next
  special = int(mode / 8388608) % 2 * 4 + int(mode / 4194304) % 2 * 2 + int(mode / 1048576) % 2
  facts = type == "symlink" ? "-" : sprintf("%o", mode % 512 + special * 512)
  facts = facts " " number("uid") " " number("gid") " " (type == "file" ? number("size") : "-")
  put("e", kind[type] " " facts sprintf(" %.0f", seconds(text("mtime"))), substr(text("path"), 2))
}'
found='
BEGIN { kind["8"] = "f"; kind["4"] = "d"; kind["a"] = "l"; kind["1"] = "p"; kind["6"] = "b"; kind["2"] = "c" }
BEGIN { kind["c"] = "s" }
{ entry = entry $0 }
substr(entry, length(entry) - 1) != "//" { entry = entry "?"; next }
{
  path = substr(entry, 1, length(entry) - 2); split(path, fact, " "); entry = ""
  for (i = 0; i < 6; i++) path = substr(path, index(path, " ") + 1)
  type = kind[substr(fact[1], 1, length(fact[1]) - 3)]
  facts = (type == "l" ? "-" : fact[2]) " " fact[3] " " fact[4] " " (type == "f" ? fact[5] : "-") " " fact[6]
  put("a", type " " facts, path)
}'
differ='
BEGIN { FS = "\t" }
{
  line = substr($0, 3); many[line] += substr($0, 1, 1) == "e" ? 1 : -1
  if (many[line] == 0) delete many[line]
}
END {
  for (line in many) {
    split(line, part, "\t")
    if (many[line] > 0) was[part[2]] = part[1]; else now[part[2]] = part[1]
  }
  for (path in was) {
    if (path in now) print path " is " now[path] ", recorded is " was[path]
    else print path " is missing"
  }
  if (others != "yes") for (path in now) if (!(path in was)) print path " is not in the point"
}'
# $1: whether other paths may be there; then the paths to compare.
tree() {
  others=$1; shift
  rm -rf /tmp/muster/tree; mkdir /tmp/muster/tree
  seen=$(
    { find "$@" -exec stat -c '%f %a %u %g %s %Y %n//' {} + 2> /tmp/muster/said; echo $? > /tmp/muster/ended; } \
      | LC_ALL=C tr '\001-\011\013-\037\177-\377"\\<>&' '?' | LC_ALL=C awk "$put $found"
  )
  if [ "$(cat /tmp/muster/ended)" != 0 ]; then
    code=93; report "error paths are not to be looked at: $(head -n 1 /tmp/muster/said)"; return
  fi
  for path; do shift; set -- "$@" "/$path"; done
  listed=$(
    {
      restic ${ssh:+-o "$ssh"} --json ls --retry-lock 2m --recursive "$snapshot" "$@" 2> /tmp/muster/said
      echo $? > /tmp/muster/ended
    } | LC_ALL=C tr '\177-\377' '?' | LC_ALL=C awk "$put $recorded"
  )
  code=$(cat /tmp/muster/ended)
  if [ "$code" != 0 ]; then watch < /tmp/muster/said; return; fi
  # A full disk or a killed awk must not look like two sides that are equal.
  if [ -z "$seen" ] || [ -z "$listed" ] || [ "$((seen+listed))" != "$(cat /tmp/muster/tree/* | wc -l)" ]; then
    code=93; report "error the comparison broke off; the mover may have no room in /tmp"; return
  fi
  for part in /tmp/muster/tree/*; do LC_ALL=C awk -v others="$others" "$differ" "$part"; done > /tmp/muster/differ
  if [ -s /tmp/muster/differ ]; then
    code=93
    report "error $(wc -l < /tmp/muster/differ) paths are not as recorded (kind mode uid gid size time):" \
      "$(head -n 3 /tmp/muster/differ | cut -c -300 | tr '\n' ';')"
    head -n 5 /tmp/muster/differ | cut -c -400 > /tmp/muster/errors
  fi
}
"""

# Where a file system has no extended attributes or no ACLs, restic leaves them out and says nothing, and some servers
# forget what a change of owner said. File systems are known by their numbers: ext2 to ext4, XFS, btrfs, ZFS, F2FS,
# CephFS, GFS2, OCFS2, Lustre, bcachefs. On another one, what has attributes or ACLs is refused before anything is
# written, and every path is compared afterwards.
_HOLDS = r"""
holds() {
  mounted=$(sed -n 's|^[^ ]* /volume/data [^ ]* \([^ ]*\) .*|,\1,|p' /proc/mounts)
  case $(stat -f -c %t data) in
    ef53|58465342|9123683e|2fc12fc1|f2f52010|c36400|1161970|7461636f|bd00bd0|ca451a4e) lacks= ;;
    *) lacks='xattr|acl' ;;
  esac
  case $mounted in *,nouser_xattr,*) lacks='xattr|acl' ;; *,noacl,*) lacks=${lacks:-acl} ;; esac
  if [ -z "$lacks" ] || [ "$MUSTER_VERIFY" = no ]; then return; fi
  if [ "$MUSTER_TREE" = no ]; then MUSTER_TREE=part; fi
  lost=$(
    {
      restic ${ssh:+-o "$ssh"} dump --retry-lock 2m --archive tar "$1" / 2> /tmp/muster/said
      echo $? > /tmp/muster/dumped
    } | LC_ALL=C tr '\000' '\n' | LC_ALL=C grep -a -o -E -m 5 "SCHILY[.]($lacks)[.][^=]*=" \
      | sort -u | tr -d '=' | tr '\n' ' '
  )
  code=$(cat /tmp/muster/dumped)
  if [ -n "$lost" ]; then
    report "code 94"
    report "error the volume's file system ($(stat -f -c %T data)) is not known to hold what the point has: ${lost% }"
    leave 94
  fi
  if [ "$code" != 0 ]; then watch < /tmp/muster/said; finish; fi
}
"""

RESTORE = (
    _COMMON
    + _TREE
    + _HOLDS
    + r"""
total() { sum=0; while read -r n; do sum=$((sum+n)); done; echo $sum; }
snapshot=$2
# Says on the volume itself that it was empty and is ours to fill, so that a second pod or run goes on where the first
# was killed. It goes at the end, and does not come where nothing is going to be written: whatever is put beside it
# later would count as ours, and be deleted.
begun=data/.muster-restore-unfinished
if [ "$MUSTER_ONLY_IF_EMPTY" = yes ] && [ ! -f "$begun" ]; then
  for name in data/* data/.[!.]* data/..?*; do
    if { [ -e "$name" ] || [ -h "$name" ]; } && [ "$name" != data/lost+found ]; then
      report "code 90"; report "error found $name"; leave 90
    fi
  done
fi
holds "$snapshot"
if [ "$MUSTER_ONLY_IF_EMPTY" = yes ]; then printf '' > "$begun"; fi
run restic ${ssh:+-o "$ssh"} --json "$@"
if [ "$code" = 0 ]; then
  report "files $(find data -type f -exec sh -c 'for f; do echo; done' sh {} + | wc -l)"
  report "bytes $(find data -type f -exec stat -c %s {} + | total)"
  case $MUSTER_TREE in whole) tree no data ;; part) tree yes data ;; esac
fi
# restic's --delete has taken it away; without that, or where a backup holds it, it is there yet.
if [ "$code" = 0 ]; then rm -f "$begun"; fi
finish
"""
)

# Single paths: after "--" comes one word that names all of them, then one word for each folder that holds some: the
# folder, and for each a pattern that means its whole path literally; all quoted for the shell. restic starts at the
# deepest folder that is on the volume, so that those above it stay as they are; those below come with their owners.
RESTORE_PATHS = (
    _COMMON
    + _TREE
    + _HOLDS
    + r"""
snapshot=$2; options=; shift 2
while [ "$1" != -- ]; do options="$options $1"; shift; done
all=$2; shift 2
state() { find "$@" -exec stat -c '%N %f %u %g %h %s %y' {} + 2> /dev/null | sort | sha256sum; }
count() { number=$(sed -n 's/.*"'"$1"'":\([0-9]*\).*/\1/p' /tmp/muster/summary); echo "${number:-0}"; }
reach() {
  at=data; rest=$1; depth=0
  while [ -n "$rest" ]; do
    next=$at/${rest%%/*}
    if [ -h "$next" ] || { [ -e "$next" ] && [ ! -d "$next" ]; }; then
      report "code 92"; report "error $next is no folder on the claim, and in the point it is one"; leave 92
    fi
    if [ ! -d "$next" ]; then return; fi
    at=$next; depth=$((depth+1))
    case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
  done
}
bring() {
  reach "$1"; shift
  for word; do
    level=$depth
    while [ "$level" -gt 0 ]; do word=/${word#/*/}; level=$((level-1)); done
    shift; set -- "$@" "--include=$word"
  done
  run restic ${ssh:+-o "$ssh"} --json restore "$snapshot:/$at" --target "/volume/$at" $options "$@"
}
for group; do eval "reach $group"; done
holds "$snapshot"
before=$(eval "state $all")
restored=0 skipped=0 bytes=0
for group; do
  eval "bring $group"
  if [ "$code" != 0 ]; then break; fi
  restored=$((restored+$(count files_restored))); skipped=$((skipped+$(count files_skipped)))
  bytes=$((bytes+$(count bytes_restored)))
done
if [ "$code" = 0 ]; then
  printf '{"message_type":"summary","files_restored":%s,"files_skipped":%s,"bytes_restored":%s}\n' \
    "$restored" "$skipped" "$bytes" > /tmp/muster/summary
  changed=no
  if [ "$bytes" -gt 0 ] || [ "$before" != "$(eval "state $all")" ]; then changed=yes; fi
  report "changed $changed"
  if [ "$MUSTER_TREE" = part ]; then eval "tree yes $all"; fi
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
restic ${ssh:+-o "$ssh"} --json "$@" > /tmp/muster/stream 2> /tmp/muster/said & pid=$!
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
