# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restic repository."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  repository:
    description:
      - The restic repository (format version 2) that holds objects and volume data.
    type: dict
    required: true
    suboptions:
      url:
        description:
          - Where it is, as restic writes it, for example V(s3:https://s3.example.com/bucket/prefix),
            V(rest:https://restic.example.com/path), V(b2:bucket:prefix), V(azure:container:/prefix),
            V(gs:bucket:/prefix), V(swift:container:/prefix), V(sftp:user@nas.example.com:/path) or a directory.
          - A login in the URL of a REST server is kept secret like one in O(repository.environment), and travels as
            that does. In it, percent-encode what is neither a letter nor a digit.
        type: str
        required: true
      password:
        description:
          - Password of the repository. Reaches restic by a private file or the environment, never by its command line.
          - White space around it does not count, as in restic's files.
          - Where none of the three options is set, the task's environment variable E(RESTIC_PASSWORD),
            E(RESTIC_PASSWORD_FILE) or E(RESTIC_PASSWORD_COMMAND) gives it.
        type: str
      password_file:
        description:
          - File with the password, instead of O(repository.password).
        type: path
      password_command:
        description:
          - Command that prints the password, instead of O(repository.password), as a list of words or as a line that is
            split into words. It is run without a shell, once a task, on the machine that runs the task, and has a
            minute. It cannot ask on a terminal.
          - The words are not secret - logs show them.
        type: raw
      environment:
        description:
          - The login of the repository's backend, as a dictionary of the variables that restic reads for it. Values are
            texts, so put numbers in quotes; empty ones are not set. Variables of another backend, and all that log in
            nowhere, are refused.
          - Without any of them, those of the task's own environment count. They are never mixed.
          - For V(s3:) E(AWS_ACCESS_KEY_ID), E(AWS_SECRET_ACCESS_KEY) and E(AWS_SESSION_TOKEN), instead of
            O(repository.access_key) and O(repository.secret_key).
          - For V(b2:) E(B2_ACCOUNT_ID) and E(B2_ACCOUNT_KEY).
          - For V(rest:) E(RESTIC_REST_USERNAME) and E(RESTIC_REST_PASSWORD), if the server wants a login.
          - For V(azure:) E(AZURE_ACCOUNT_NAME), and E(AZURE_ACCOUNT_KEY), or E(AZURE_ACCOUNT_SAS), or
            E(AZURE_TENANT_ID) with E(AZURE_CLIENT_ID) and E(AZURE_CLIENT_SECRET). Also E(AZURE_ENDPOINT_SUFFIX).
          - For V(gs:) E(GOOGLE_PROJECT_ID), and E(GOOGLE_APPLICATION_CREDENTIALS), the path of a file on the machine
            that runs the task, of which movers get the content, or E(GOOGLE_ACCESS_TOKEN).
          - For V(swift:) the variables with E(OS_) and E(ST_) that restic's manual lists, and
            E(SWIFT_DEFAULT_CONTAINER_POLICY).
          - Secrets among them (keys, passwords, tokens, signatures) are in no result, log or argument list. Names of
            users, accounts and places are shown like other options. Movers get them as files of their own Secret.
        type: raw
      ssh_key_file:
        description:
          - For V(sftp:), file with the private key that logs in, without a passphrase. Movers get it as a file of their
            own Secret. Without it ssh uses what it has on the machine that runs the task, and movers in containers are
            refused.
        type: path
      ssh_known_hosts:
        description:
          - For V(sftp:), file with the server's host key, as ssh writes it. No other key is accepted then. Movers in
            containers need it.
        type: path
      volume:
        description:
          - For a repository in a directory on shared storage, how movers mount that very directory. A volume as in a
            pod, without its name, for example with the key C(nfs), which has C(server) and C(path). O(repository.url)
            is the same directory as this machine sees it, such as V(/mnt/nas/muster).
          - Without it volumes of a cluster cannot be moved to or from a directory, as movers do not reach it.
          - Not for claims, which movers' namespaces do not have. Name the storage behind them.
          - C(nfs) and C(cephfs) are allowed in namespaces of the Pod Security level C(baseline), and not in those of
            C(restricted). C(hostPath) is allowed in neither, and right only where there is one node.
          - Movers run as root of their pod (under C(restricted) as the application's user), and restoring writes a lock
            too. So the server must let that user write - with C(no_root_squash), or with C(all_squash), which makes all
            clients one user. This machine must be able to read what movers write. Where it is neither root nor that one
            user, restic's files must have its group, and be readable for it, as they are where the repository's file
            C(config) is.
        type: dict
      id:
        description:
          - The id that the repository must have. With another one the task fails and touches nothing, so that a swapped
            bucket or a mistyped URL is noticed.
        type: str
      restic:
        description:
          - The restic program, version 0.18 or newer.
        type: path
        default: restic
      access_key:
        description:
          - Access key of the object store. Without it the environment's AWS credentials are used. The same as
            E(AWS_ACCESS_KEY_ID) in O(repository.environment), which then must not be set.
        type: str
      secret_key:
        description:
          - Secret key that belongs to O(repository.access_key).
        type: str
      region:
        description:
          - Region of the object store, where it has one.
        type: str
      ca_cert:
        description:
          - File with the certificates of the authorities that may vouch for the object store or the REST server.
        type: path
requirements:
  - restic >= 0.18 (program)
"""

    # A repository whose objects are read and written as they are; with restic only where a copy gets another key.
    RAW = r"""
options:
  repository:
    description:
      - The restic repository.
    type: dict
    suboptions:
      url:
        description:
          - Where it is, as restic writes it, for example V(s3:https://s3.example.com/bucket/prefix) or a directory.
        type: str
        required: true
      password:
        description:
          - Its password, which O(mode=recrypt) needs. With O(mode=raw) it serves only to find copies with other ids,
            where the repository is one that O(mode=recrypt) made.
          - Where none of the three options is set, the task's environment gives it as E(RESTIC_PASSWORD) and its kin,
            for both repositories.
        type: str
      password_file:
        description:
          - File with the password, instead of C(password).
        type: path
      password_command:
        description:
          - Command that prints the password, instead of C(password), as a list of words or as a line that is split into
            words.
        type: raw
      environment:
        description:
          - Login of the backend, as a dictionary of restic's variables, such as E(AWS_ACCESS_KEY_ID),
            E(AWS_SECRET_ACCESS_KEY) and E(AWS_SESSION_TOKEN) instead of the two keys, or E(RESTIC_REST_USERNAME) and
            E(RESTIC_REST_PASSWORD). Variables of another backend are refused.
          - With O(mode=recrypt) two repositories of one kind, other than V(s3:) and V(rest:), need the same login.
        type: raw
      ssh_key_file:
        description:
          - For V(sftp:), file with the private key that logs in, without a passphrase.
        type: path
      ssh_known_hosts:
        description:
          - For V(sftp:), file with the server's host key. No other key is accepted then.
        type: path
      volume:
        description:
          - Not used here. Accepted so that the same dictionary serves every module.
        type: dict
      id:
        description:
          - With O(mode=recrypt) the id that the repository must have. Where nothing is there then, nothing is made.
        type: str
      restic:
        description:
          - The restic program, version 0.18 or newer, for O(mode=recrypt), which runs that of O(destination) to copy.
        type: path
        default: restic
      access_key:
        description:
          - Access key of the object store. Without it boto3 looks where it always does.
        type: str
      secret_key:
        description:
          - Secret key that belongs to the access key.
        type: str
      region:
        description:
          - Region of the object store, where it has one.
        type: str
      ca_cert:
        description:
          - File with the certificates of the authorities that may vouch for the object store or the REST server.
          - With O(mode=recrypt) those of the two repositories are put together, and what the system trusts no longer
            counts. Where the other server's certificate is public, set it there to the system's file. An S3 source is
            read apart.
        type: path
requirements:
  - boto3 >= 1.36 (Python package), for V(s3:) repositories
  - restic >= 0.18 (program), for O(mode=recrypt)
"""

    # The same under other names. Annotated, as ansible-test's yamllint reads every plain assignment here as a literal.
    SOURCE: str = RAW.replace(" repository:", " source:")
    DESTINATION: str = RAW.replace(" repository:", " destination:")
