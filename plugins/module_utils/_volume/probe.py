# Copyright (c) 2026, Muster contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Whether a volume's file system holds owners, attributes and ACLs, asked before anything is restored to it.

Where a file system knows no extended attributes, restic leaves them out and says nothing. A mover has no other program
that could set or read one, so it carries a restic repository of one empty file, restores that, and reads back what
became of it. The common file systems are known and not asked.
"""

from __future__ import annotations

# A repository with the password "probe", as a compressed tar. Its only snapshot has an empty file of owner 12345:54321
# and mode 640, with the attribute user.muster and an ACL for user 23456.
REPOSITORY = """
H4sIAAAAAAACA+2YaVRU5xnHUZJIMMQoo6CxEQc3EOXuC4uRYR1hgBEccMTIXYcBBmYDZmAw0Ca1xigmKqIii2LQuKLBIm4xUUSxiCBaDXFtRBQURRBFSUdP
v9SeY9JYpvZ0fl/e+977nPOee//n+T/Pc5nUFF6psBlQADMIADxfgX9dAQiGbUAUhFAYRp7HgQAOoTYugI0FSNPpKa2Li402NVX/srhfev4/ym3Hv2yYUUk7
t3LFZGGPLP6Uo+oQueFSd3ld18TPZicXPAgZLm2xndP9wZdxR5Y5aIx/9TjFD84pXGo3tsrPybdl1clCjcDUHeJ08+E27+ion0l7rqI4/4LLOgd+0Iz4tLYh
O22j2wU3djghjbfaHLq1btmOngvjKke0BpXWStcuqHpw21thW7X/zYcjy4IMiSGPgyYu6DRJ+nO61ypH2lgZeJI4o87TZuDzH39J/j+7fiH/zTsbF9Sa/5bR
n0ARAgQoEAUYikN4mMQIkmYABkV5CgJoFsc5ECBhhKAhEMYZjAUxnkJAhiJwAgdp6hX9H8Pwf9YfAkEUs/q/JcgSMlqO0nOs0EsIARA2DQSnQVA0gHuBiBeK
TkdBEMJgEoTlQg9hmo7TplAqzhz77HOY7ySk6vT/uJOuMu+TWN58qWO0RvWzx+FCLxCDCcRDqBV6ER5CtdAL9hDqqGS9OSpBE8zreBnNGkQiET87QuxJhOul
/qGhYZCG0fv5h8kTROGevCTJEEbPzoyRaqXKIDU6K3ZqmEYcHIxFaeUYGJIs44OTUgL9I+DgKE1oaJCfr6/5XJbSU+YTwlC5AqYCSF5OhRj0CAKGMxlIMK8U
pSTKZHIZSYUHA1KJWqYVxdISKkAmnp3CqNmMUDxwakIyLQmIidEq9XMCWUM6HmJQIyIIN05VGRJQPl2jBZMpao6RA0XRvF8ig3omGNL9xFqQQ3GjxAhgMZjK
36gxhEVmigJVsMETNoAyXWxiVCBOhwfNFWORBoZIyTB4BiKsOEHJKaKI0HClXBHul2IkaZQkEE2ELlouAdP9FNjcTFFsqD40Q5VmoJDMDPMbZv/H9H/2pV5D
/0dQwOr/luC5/hTi+Zrpj6OIVX9L6k8hAIEjHE2AFERiEIQyJAyhIMGTOEqDFMXTCIqbF5jnEQDlEJoCKIbgcHOhJpFnBfxV6j8Avlj/Eev8ZxkWqfb+LW1h
S8M1+Sz7x6aNl/pCcparRvi7ryuqOFmwCDiwUDQ4bNZHjib/RXldh7/dvZIpemNQ22LDqJ6s7T8MB25I87esqnpoG7a13t+QkV63v2BC0wVXo8T09aGSVLei
H4+JjyuSAOF7AT2Tnmxuq40c4vToMCOuC5B9XrNmS0W/svcQ29yVWJV48H21qbmrBWV2uzcvVZ+1P//0zhWfMp/W07ty88CTiCBSN3bvddU0w+Yz++YcKIxa
MfTcpoQJErm079RboUtyMpYM1vwoybLbTzhTgkllsbZhfavLeoVnYjKbL29Z3Da0svDE1r4x3591w47mRj9Q5Ffv2aacsS6nXiG7eN8+9+r1BZNm/sHoObK5
btGyo+JrvUNcJHYbHYvF0s7moYsTDs7Hz/Yujb//s/sP32z2uHMgNc5p/YOOQdWtvdFB6/23bBtcU7fYtcKuXlza8NbJ/CWFMd1XxrUn//nUDeb8ynXstzHV
5WtXZ9eWGT0q+xJr53c0jLLtGH+6qbTs+xKyRvzf11+ZwnKGAW4AfoP/Ywhm9X/L6c/QMEzDLIoyEMmiEMpzFMKRLAezEA+RNMWSLAnROMszJMUjoLkMcBxP
mmMhkMchs32/0vwHQy/OfxAEWOc/izB5dVnfrdL4kBM79YlG6cz9m97defg7bsuGyj9GCJbdLBq19QNTL487r1Xts/d+Kuy4rBpyKTD7UYnXBNfkhJqy2Dz1
R8u/KN0XdnM1ptAW3BzmA+5cceyu/fqmhT0VjXYt95zt+Y0NyrdjTb1TDvtlN0ULyqeAX4PlASs8ttVA5xrGHQ7e4CcwOoVr3Haov7l4bww/pfz2hSfb+fYr
yXP3Dh7WZbqD39/6KVA3ed6JxxHtj9n8kqkfOp4r9R2TVnPraDWxbFiH0N0b3GRyGSFZP7pQ27vslmhH8OgnuPXH3q9El0KpdQmp+oH8Cfjv+7+5qwSt/m9Z
/XGaxGiO4GEIBkAY52iYwFCKYRmK4AkWh1CchVEeRigKwlkUwDEOYWAcJBEUwwGMBX67/6Mo9KL/g+aJwur/FuBuUYd7pCC2yWVEVND7unHzh+Vtb807Iyb2
366+2Djr8vFcMOb4nLwrd8Y7yx1+Ojrpk4LfZe/uEkt8K9eOa7rfEzNd6dM8rUkg/nR6zkHJeyH1lVlxu96Icg06Yr9mZf3ZfqxNF1nr7Nbp6kfLi641Bud1
Kn9foB2neOpGSJvxq9tOmubr996cYBhqSou6+0Tak3Lj4hd1U6Jr757+0NtRGxCp/sQ97MjwlkTyROP8qW9nuM5rHimS7SGIwAsuVX/67til2sxV5z9WxGFH
ulcl+daWHB9uyg0C19UM2hA69yvHlVS/zq5ak+3EXCxxj88vXn624uCQyP7i8fr6e06rCleHTs96VPTldtn4d+5sap+HFe8a09JZosP9e97J/UwX0Dgxzb38
85LWd0dHCNy3fzw54KtZ1z0un2OvnBE0jA64d94ha6xTno9r3MyrRetLJYmda4yJ1xbu2nM1xHvM/fglHlsdqn6q7L/t47mxoO3N4ZOGttu+nvqrKZ0uI1XL
DnT/jyHIS/wffdH/YRi05r9F9Nem0py1DbJixYoVK1b+r/g7cEiDOQAoAAA=
"""

# Sets "lacks": a pattern of what restic's archives call that which would be lost; and MUSTER_TREE, where owners or
# modes are not kept, so that a restore that needs none of them is still one.
SCRIPT = (
    r"""
lacks=
probe() {
  if ! grep -q ' /volume/data [^ ]* [^ ]*\(noacl\|nouser_xattr\)' /proc/mounts; then
    case $(stat -f -c %T data) in ext2/ext3|xfs|btrfs) return ;; esac
  fi
  kept=/tmp/muster/probe; place=data/.muster-probe; mkdir -p $kept; rm -rf $place
  base64 -d << 'END' | tar -x -z -C $kept
"""
    + REPOSITORY.strip()
    + r"""
END
  asked() { restic --json --no-cache --repo $kept --password-file $kept/password "$@" 2>&1; }
  asked restore latest --target "/volume/$place" > /tmp/muster/said
  owned=$(stat -c '%u %g %a' $place/file)
  made=$(cd $place && asked backup --host probe file | sed -n 's/.*"snapshot_id":"\([0-9a-f]*\)".*/\1/p')
  asked cat tree "$made:/" > $kept/tree
  rm -rf $place
  if [ "$owned" != '12345 54321 640' ] && [ "$MUSTER_TREE" = no ]; then MUSTER_TREE=part; fi
  if ! grep -q '"user.muster"' $kept/tree; then lacks='SCHILY[.]xattr[.]'; fi
  if ! grep -q '"system.posix_acl_access"' $kept/tree; then lacks="${lacks:+$lacks\|}SCHILY[.]acl[.]"; fi
}
# Ends the mover where the snapshot has what the file system lacks.
holds() {
  probe
  if [ -z "$lacks" ]; then return; fi
  lost=$(
    { restic --no-cache dump --retry-lock 2m --archive tar "$1" / 2> /tmp/muster/said; echo $? > /tmp/muster/dumped; } \
      | LC_ALL=C tr '\000' '\n' | LC_ALL=C grep -a -o -m 5 "\($lacks\)[^=]*=" | sort -u | tr -d '\n'
  )
  code=$(cat /tmp/muster/dumped)
  if [ -n "$lost" ]; then
    report "code 94"
    report "error the volume's file system ($(stat -f -c %T data)) does not hold what the point has: ${lost%=}"
    leave 94
  fi
  if [ "$code" != 0 ]; then watch < /tmp/muster/said; finish; fi
}
"""
)
