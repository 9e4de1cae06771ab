#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_restore
short_description: Restore the objects of an application from a restic repository
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Reads the objects that M(muster.container_dr.k8s_snapshot) stored, computes for each of them what has to happen at
    the target and why, and does it in waves - definitions, namespaces, classes, accounts and configuration, claims,
    permissions, services, workloads, custom resources, quotas and budgets, webhooks - the objects of a wave in
    parallel. An object follows those that it refers to and belongs to, also into a later wave. Objects of an API whose
    server is restored too are written once that answers; if it does not in time, they are blocked and named.
  - Before anything is written it looks for what the target would refuse - versions that it does not serve, missing
    classes, full quotas, limit ranges, Pod Security levels, admission webhooks whose service is down, node ports that
    are taken, volumes that clash, fields that cannot be changed, missing permissions. Such objects are blocked, the
    others are restored. Of those that will be written and not work, as pods whose image the registry does not have,
    RV(objects[].concerns) says why.
  - An object is written in the version in which it was captured first. Where the target does not serve that, nor will
    once a definition is restored, it is written in another one that was captured (C(versions) of the application in
    M(muster.container_dr.k8s_snapshot)).
  - What the old cluster owned is taken away (status, uids, cluster IPs, tokens, bindings of claims, generated labels of
    Jobs). What users own stays. Owner references are linked to the new uids. Finalizers stay where the API group of
    their controller is at the target, else they are held back and named.
  - Who owned which field when it was captured owns it again, so that the next C(kubectl apply), Helm, Argo CD or Flux
    run neither conflicts nor loses the power to remove fields. Objects of one owner are written under its name in one
    request; those of several need a second one, after which this collection owns nothing that others owned.
  - Not restored, and named with the reason, are Pods, ReplicaSets and Jobs whose controller is restored, finished Jobs
    and Pods, PersistentVolumes (claims get their data from M(muster.container_dr.volume_import)), VolumeSnapshots and
    generated tokens. A claim that is at the target already is never touched. One that belongs to a StatefulSet is
    restored before it, and linked to it by the StatefulSet's controller.
  - A namespace gets the annotation C(container-dr.muster.dev/point). By it a run that was killed is recognised and the
    same command goes on where it ended. A second run of the same restore writes nothing.
  - One restore at a time writes into the same namespaces. While it does, it holds and renews the Lease
    C(muster-restore) in the first of them. A second one is refused and names the holder; the lock of a run that died is
    taken over after 15 seconds.
  - With O(isolate) the objects are restored as a drill bubble that can neither reach nor be reached from outside.
    With O(state=absent) the bubble is removed again.
  - Hooks of the application (O(restore_hooks)) and of annotations (O(hook_annotations)) are init containers, which are
    added to the pods and pod templates of the plan, and commands, which run in restored pods once all objects are
    written. Commands run once in each pod of the workloads that this run has created or changed - Pods, Deployments,
    StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers and Jobs. A restore that changes nothing runs none, so
    one that is cut off before its hooks ran leaves them to you.
  - The identity in use must be allowed to write whatever is restored; C(docs/rbac/restore.yml) in the collection is a
    cluster role that is enough for any application. What is not allowed is blocked and named beforehand.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.repository
  - muster.container_dr.registry
  - muster.container_dr.progress
  - muster.container_dr.transforms
attributes:
  check_mode:
    support: full
    details:
      - Computes the plan that a run executes, with the same code. The server tries all objects without storing them;
        those of namespaces that do not exist yet in namespace C(default), see RV(objects[].sure).
  diff_mode:
    support: full
    details:
      - Shows RV(summary) and, for objects that are updated, the fields that change. Values of Secrets are masked.
  idempotent:
    support: full
options:
  state:
    description:
      - V(present) restores. V(absent) removes the drill bubble of O(run), or without O(run) all those of O(application)
        - their namespaces with everything in them, their volumes and the cluster-scoped objects that were made for them
        - and waits until all of it is gone.
      - CustomResourceDefinitions that a drill had to create stay, because removing one would remove every custom
        resource of its kind in the cluster.
    type: str
    choices: [present, absent]
    default: present
  repository:
    description:
      - The restic repository (format version 2) that holds the objects. Needed with O(state=present).
    type: dict
    required: false
  snapshot:
    description:
      - Id of the snapshot with the objects, or of its tree, which is what a recovery point's document binds. Needed
        with O(state=present). A copy that C(restic copy) made is found by the id that it had before, too.
    type: str
  point:
    description:
      - Id of the recovery point, written on the namespaces. Without it the id of the snapshot is used.
    type: str
  application:
    description:
      - Name of the application, written on the namespaces as a label.
    type: str
  namespace_mapping:
    description:
      - Maps captured namespaces to those to restore into. Namespaces that are not named keep their name.
      - References follow - subjects of bindings, selectors by namespace name, affinities, services of webhooks, API
        services and definitions, secrets of volumes, annotations of ingresses, references and grants of the Gateway
        API, what service monitors, Argo CD, Flux, External Secrets, Istio, Cilium, Calico, Kyverno and Gatekeeper say
        of namespaces, and a C(namespace) beside a C(name) in any custom resource. O(namespace_references) adds more.
      - Cluster role bindings and webhook configurations of moved namespaces become copies with a name of their own, so
        that several copies can be beside each other and the original; see O(suffix_kinds) for what else does. An API
        and the converter of a definition, of which a cluster has one, stay with the original.
      - Several namespaces may be mapped to one. Objects that would become the same are refused unless they are equal.
      - Names of services in environment variables and configuration files are rewritten with O(service_names).
    type: dict
  include_kinds:
    description:
      - Restore only these kinds; globs such as C(deployments.apps), C(*.example.com) or C(secrets). The namespaces that
        are needed are always made. V([namespaces]) makes just those, with their labels, annotations, isolation and pull
        secret, which is useful before M(muster.container_dr.volume_import).
    type: list
    elements: str
  exclude_kinds:
    description:
      - Kinds not to restore.
    type: list
    elements: str
  existing:
    description:
      - What to do with objects that are at the target already and differ. Equal ones are never written.
      - V(fail) restores into empty or new namespaces only and otherwise refuses before anything is written. What an
        earlier run of the same O(point) restored is kept and is no obstacle. Objects of the whole cluster are kept.
      - V(keep) leaves them as they are, with a warning for each. Of a namespace only our own marks and what
        O(namespace_labels) and O(namespace_annotations) ask for are written.
      - V(update) makes them equal to the captured ones; fields that only the target has go. Objects that are not in
        the point stay. So do labels and annotations that only the target's namespaces have, Pod Security levels for
        example, with V(recreate) too; they go only where O(existing_kinds) gives C(namespaces) one of these policies.
      - V(merge) adds and overwrites what was captured and takes nothing away; lists are merged as the API's schema
        says.
      - V(recreate) updates, too, and deletes and creates those that cannot be updated, once the server has tried
        without storing them that it would take them again; else they are blocked and stay. Never recreated are claims,
        volumes, namespaces, definitions, and whatever claims would be deleted with; these are blocked.
      - Claims are always kept. For a drill bubble objects of the whole cluster are never changed.
    type: str
    choices: [fail, keep, update, merge, recreate]
    default: fail
  existing_kinds:
    description:
      - Policies, as in O(existing), for chosen kinds; globs such as C(secrets) or C(*.example.com) to policies. Of
        several that match a kind the first one holds.
      - With V(fail) for a kind nothing at all is written if an object of that kind is there and differs. A namespace
        differs where it lacks captured labels or annotations or has others in their place.
    type: dict
  ordered:
    description:
      - Order beyond what references and kinds demand. Globs for kinds (C(secrets), C(*.example.com)) or for objects as
        they are named in the result (C(ledger/jobs.batch/migrate*)). What matches an entry waits until all that
        matches earlier entries is written. This wins over references inside the objects.
      - Namespaces and definitions always come first.
    type: list
    elements: str
  images:
    description:
      - The image list of the recovery point's document (C(name), C(digest), C(path), C(used_by)). With O(registry) the
        containers of pods and pod templates, and known names in custom resources, get C(REGISTRY/PATH@DIGEST). In
        custom resources these are names under C(image), names with a tag, a digest or a registry, and those that stand
        where C(used_by) or the table for common operators says. Nothing in C(metadata) and C(status) is one.
    type: list
    elements: dict
  registry:
    description:
      - The target's registry, which holds the images. Where it wants a login, a pull secret C(container-dr-registry) is
        made in every namespace and used instead of the old ones.
      - It is asked whether it has the images, see O(check_images).
  check_images:
    description:
      - Whether the registry of O(registry) is asked, from where the module runs, for every image of O(images) that is
        used, once each and without reading any. What uses an image that it does not have is restored all the same and
        named in RV(objects[].concerns). A registry that does not answer is a warning.
      - Images that stay as written are never asked for. That they can be pulled is assumed, and said in
        RV(objects[].transforms).
    type: bool
    default: true
  namespace_annotations:
    description:
      - Annotations to put on the namespaces, for example the epoch.
    type: dict
  namespace_labels:
    description:
      - Labels to put on the namespaces.
    type: dict
  isolate:
    description:
      - Restore as a drill bubble. Needs O(run), and namespaces that are new, empty or of the same run.
      - Namespaces get the labels C(container-dr.muster.dev/role=bubble) and C(container-dr.muster.dev/run), and a
        network policy that allows egress to the bubble itself and to the cluster's DNS only. As network policies add
        up, egress rules of restored ones are narrowed to the bubble. Host networks, host ports, node ports, load
        balancers and external addresses are taken away. Ingresses, gateways, routes, webhook configurations, API
        services, objects of Argo CD and Flux, and policies of Cilium and Calico are held back.
      - Cluster-scoped objects that exist are not touched; those that have to be made are removed with the bubble,
        except CustomResourceDefinitions.
    type: bool
    default: false
  run:
    description:
      - Id of the drill's run, a valid label value. Needed with O(isolate), and with O(state=absent) where
        O(application) is not given.
    type: str
  suspend_cronjobs:
    description:
      - Whether CronJobs in a bubble are suspended.
    type: bool
    default: true
  allow_partial:
    description:
      - Whether the task succeeds although objects were held back or failed. RV(status) is V(partial) then.
    type: bool
    default: false
  fail_fast:
    description:
      - Stop at the first object that fails or that the server refuses, after those under way, instead of going on with
        the others. No hook runs then, and objects that were not reached are blocked and say so. What the plan itself
        holds back does not stop the others.
    type: bool
    default: false
  restore_hooks:
    description:
      - What is to be done in restored pods. Commands run in this order, in all pods of one entry before the next one.
        After one that fails no other runs, unless O(restore_hooks[].on_error) is V(continue).
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Names it in the result.
        type: str
        required: true
      namespace:
        description:
          - The captured namespace of its pods; it follows O(namespace_mapping). Without it all that are restored.
        type: str
      selector:
        description:
          - Label selector for pods, and for pod templates by the labels in them.
        type: str
        required: true
      container:
        description:
          - Where the command runs; without it in the first container.
        type: str
      command:
        description:
          - The command as a list of words; no shell reads it. Either this or O(restore_hooks[].init_containers).
        type: list
        elements: str
      timeout:
        description:
          - How long the command may take, as seconds or as V(2m).
        type: str
        default: 60s
      wait_timeout:
        description:
          - How long after the objects were written to wait for the container to run.
        type: str
        default: 5m
      wait_for_ready:
        description:
          - Whether to wait until the whole pod is ready.
        type: bool
        default: false
      on_error:
        description:
          - V(fail) makes the restore partial, V(continue) warns.
        type: str
        choices: [fail, continue]
        default: fail
      output:
        description:
          - V(none) keeps what the command prints out of the result.
        type: str
        choices: [kept, none]
        default: kept
      init_containers:
        description:
          - Containers as in a pod's C(spec.initContainers), put before those that are there. One whose name is there
            already is not added again. They stay in a workload's template, so they run at every start of its pods.
          - Their images follow O(images) and O(registry) like all others.
        type: list
        elements: dict
  hook_annotations:
    description:
      - Whether annotations of restored pods and pod templates are hooks.
      - Ours for a command are C(container-dr.muster.dev/post-restore-command), with C(-container), C(-timeout),
        C(-wait-timeout), C(-wait-for-ready), C(-on-error) and C(-output) in place of C(-command); for an init container
        C(container-dr.muster.dev/restore-init-image), with C(-name) and C(-command).
      - Velero's are C(post.hook.restore.velero.io/command), with C(container), C(exec-timeout), C(wait-timeout),
        C(wait-for-ready) and C(on-error), and C(init.hook.restore.velero.io/container-image), with C(container-name),
        C(command) and C(timeout), which is read and not acted on. As with Velero a command may take 30 seconds and its
        failure does not matter unless C(on-error) says so; other than with Velero, C(wait-timeout) is V(5m) by default.
        Ours go before Velero's of the same pod.
      - A command is a JSON array of words, or a text that is its one word.
      - An annotation that cannot be read ends the task before anything is written.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait with O(state=absent) until everything is gone.
    type: int
    default: 300
  workers:
    description:
      - How many requests to the API server are under way at most. They are fewer while it answers that they are too
        many (429, by its priority and fairness).
    type: int
    default: 16
seealso:
  - module: muster.container_dr.k8s_snapshot
  - module: muster.container_dr.volume_import
  - module: muster.container_dr.restore_validate
"""

EXAMPLES = r"""
- name: Show what a restore would do, object by object
  muster.container_dr.k8s_restore:
    kubeconfig: /etc/muster/west.kubeconfig
    repository:
      url: s3:https://s3.west.example.com/ledger
      password_file: /etc/muster/repository-password
    snapshot: "{{ point.document.objects.tree }}"
    point: "{{ point.id }}"
  check_mode: true
  register: plan

- name: Restore into a drill bubble, with the images of the second site
  muster.container_dr.k8s_restore:
    kubeconfig: /etc/muster/west.kubeconfig
    repository:
      url: s3:https://s3.west.example.com/ledger
      password_file: /etc/muster/repository-password
    snapshot: "{{ point.document.objects.tree }}"
    point: "{{ point.id }}"
    application: ledger
    namespace_mapping:
      ledger: ledger-drill-7
    isolate: true
    run: drill-7
    registry:
      name: registry.west.example.com/backup
      username: muster
      password: "{{ registry_password }}"
    images: "{{ point.document.images }}"

- name: Show every name and reference that a copy beside the original would get
  muster.container_dr.k8s_restore:
    kubeconfig: /etc/muster/east.kubeconfig
    repository:
      url: s3:https://s3.east.example.com/ledger
      password_file: /etc/muster/repository-password
    snapshot: "{{ point.document.objects.tree }}"
    namespace_mapping:
      ledger: ledger-copy
      ledger-db: ledger-db-copy
    service_names: [env, commands, configmaps]
    namespace_references:
      - kinds: [exports.reporting.example.com]
        path: /spec/sources/*/namespace
  check_mode: true
  register: preview

- name: Print them
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.transforms | join('; ') }}"
  loop: "{{ preview.objects | selectattr('transforms', 'defined') | selectattr('transforms') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Restore at the second site, which names things otherwise, with the workers asleep
  muster.container_dr.k8s_restore:
    kubeconfig: /etc/muster/west.kubeconfig
    repository:
      url: s3:https://s3.west.example.com/ledger
      password_file: /etc/muster/repository-password
    snapshot: "{{ point.document.objects.tree }}"
    point: "{{ point.id }}"
    storage_classes:
      east-ssd: west-ssd
    hosts:
      "*.east.example.com": "*.west.example.com"
    node_labels:
      topology.kubernetes.io/zone:
      disk=ssd: storage=fast
    tolerations:
      dedicated=ledger: reserved=ledger
    node_ports: user
    replicas:
      - names: [worker-*]
        replicas: 0
    transforms:
      - name: log less
        when:
          kinds: [deployments.apps]
          labels: app=api
          conditions:
            - path: /spec/template/spec/containers/*/name
              value: api
        strategic_merge_patch:
          spec:
            template:
              spec:
                containers:
                  - name: api
                    env:
                      - name: LOG_LEVEL
                        value: warning
      - name: no public address
        when:
          kinds: [services]
          conditions:
            - path: /spec/type
              value: LoadBalancer
        json_patch:
          - op: replace
            path: /spec/type
            value: ClusterIP

- name: Restore with the configuration that Velero had
  muster.container_dr.k8s_restore:
    kubeconfig: /etc/muster/west.kubeconfig
    repository:
      url: s3:https://s3.west.example.com/ledger
      password_file: /etc/muster/repository-password
    snapshot: "{{ point.document.objects.tree }}"
    velero_config:
      - /etc/velero/resource-modifiers.yaml
      - apiVersion: v1
        kind: ConfigMap
        metadata:
          name: change-storage-class
          labels:
            velero.io/plugin-config: ""
            velero.io/change-storage-class: RestoreItemAction
        data:
          east-ssd: west-ssd

- name: Restore, fill the database again and wait for the cache
  muster.container_dr.k8s_restore:
    kubeconfig: /etc/muster/west.kubeconfig
    repository:
      url: s3:https://s3.west.example.com/ledger
      password_file: /etc/muster/repository-password
    snapshot: "{{ point.document.objects.tree }}"
    restore_hooks:
      - name: schema of the search index
        selector: app=search
        init_containers:
          - name: make-index
            image: registry.west.example.com/tools/index:4
            command: [/bin/make-index]
      - name: dump into the database
        selector: app=db
        container: postgres
        command: [sh, -c, "psql < /backup/dump.sql"]
        timeout: 10m
        wait_for_ready: true

- name: Throw the bubble away
  muster.container_dr.k8s_restore:
    kubeconfig: /etc/muster/west.kubeconfig
    state: absent
    run: drill-7
"""

RETURN = r"""
status:
  description: V(completed) when all that was asked for is done, else V(partial). In check mode what it would be.
  returned: always
  type: str
  sample: completed
counts:
  description:
    - Number of objects by action, C(create), C(update), C(recreate), C(keep), C(skip), C(blocked), and of those that
      C(failed). With O(state=absent) C(delete) and C(failed).
  returned: always
  type: dict
  sample: {"blocked": 0, "create": 24, "failed": 0, "keep": 3, "recreate": 0, "skip": 2, "update": 1}
summary:
  description:
    - The plan in few lines, however many objects there are - what is blocked first, then by action and reason.
  returned: always
  type: list
  elements: str
  sample:
    - blocked 1
    - "  ledger/persistentvolumeclaims/data: it needs 'fast' of storageclasses, which the target does not have"
    - create 24
    - "  24 objects in 1 namespaces (12 configmaps, 12 secrets): it is not there"
objects:
  description:
    - One entry per object, in the order of execution, but for those in RV(unchanged). In check mode the plan.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Namespace, kind and name; without a namespace for cluster-scoped ones.
      type: str
      returned: always
      sample: ledger/deployments.apps/api
    action:
      description: What is done, see RV(counts).
      type: str
      returned: always
      sample: create
    reason:
      description: Why.
      type: str
      returned: always
      sample: it is not there
    transforms:
      description: What was changed in the object on its way.
      type: list
      elements: str
      returned: with O(state=present)
      sample: ["1 images taken from the target's registry"]
    differs:
      description: Where an object that is there differs; what is done about it is the action. Secrets are masked.
      type: list
      elements: str
      returned: with O(state=present)
      sample: ["spec.replicas: 3 -> 1"]
    concerns:
      description: What will go wrong although the object itself can be written.
      type: list
      elements: str
      returned: with O(state=present)
      sample: ["not all of its 3 pods will be admitted: quota q allows 10 pods, 9 are used, it needs 3"]
    sure:
      description:
        - How the plan knows. V(dry_run) the server was asked, V(seen) by comparison, V(schema) the server takes such
          an object but its namespace does not exist yet or gets other labels, V(assumed) its API does not exist yet.
      type: str
      returned: with O(state=present)
      sample: seen
    changed:
      description: Whether it was (in check mode, would be) written.
      type: bool
      returned: always
      sample: true
    failed:
      description: Whether writing it failed.
      type: bool
      returned: always
      sample: false
    skipped:
      description: Whether it is kept or left out.
      type: bool
      returned: always
      sample: false
    msg:
      description: What became of it.
      type: str
      returned: always
      sample: created
unchanged:
  description:
    - Names of the objects that are there as they shall be, and of which there is nothing else to say. They are left
      alone, and count as C(keep).
  returned: always
  type: list
  elements: str
  sample: [ledger/secrets/db]
hooks:
  description:
    - One entry per command and pod that it ran in. In check mode one per workload that would be written.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the hook, or the object whose annotations it comes from.
      type: str
      sample: dump into the database
    workload:
      description: The object whose pods are meant.
      type: str
      sample: ledger/statefulsets.apps/db
    namespace:
      description: Namespace of the pod.
      type: str
      sample: ledger
    pod:
      description: Name of the pod; empty where it ran in none.
      type: str
      sample: db-0
    container:
      description: The container that it ran in.
      type: str
      sample: postgres
    phase:
      description: Always V(restore).
      type: str
      sample: restore
    source:
      description: Where it comes from, V(application), V(annotation) (ours) or V(velero).
      type: str
      sample: application
    on_error:
      description: V(fail), or V(continue) if its failure does not matter.
      type: str
      sample: fail
    started:
      description: When it began.
      type: str
      sample: "2026-01-31T04:05:06.789Z"
    seconds:
      description: How long it took.
      type: float
      sample: 12.5
    code:
      description: Its exit code; none if it did not end.
      type: int
      sample: 0
    ok:
      description: Whether it succeeded; none if it did not run and did not have to.
      type: bool
      sample: true
    stdout:
      description:
        - The last 4 KiB of what it printed, without what is written like a secret (C(password=...), tokens, logins in
          URLs, private keys) and without the passwords among the task's options.
      type: str
      sample: "COPY 1200"
    stderr:
      description: The same of its error output.
      type: str
      sample: ""
    msg:
      description: Why it failed or did not run.
      type: str
      sample: ""
namespaces:
  description: The captured namespaces and those that they were restored into.
  returned: always
  type: dict
  sample: {"ledger": "ledger-drill-7"}
point:
  description: What was written on the namespaces as the point.
  returned: always
  type: str
  sample: 20260131T040506Z-ledger-3f9a
"""

from functools import partial

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    PROGRESS,
    Options,
    registry,
    repository,
)
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.client import REQUIREMENT
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.restore import restore
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.restore_hooks import OPTIONS as HOOKS
from ansible_collections.muster.container_dr.plugins.module_utils._k8s.transform_options import OPTIONS as TRANSFORMS
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._oci import presence

OPTIONS = (
    CLUSTER
    + repository(required=False)
    + registry()
    + PROGRESS
    + TRANSFORMS
    + HOOKS
    + Options(
        arguments={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "snapshot": {"type": "str"},
            "point": {"type": "str"},
            "application": {"type": "str"},
            "namespace_mapping": {"type": "dict"},
            "include_kinds": {"type": "list", "elements": "str"},
            "exclude_kinds": {"type": "list", "elements": "str"},
            "existing": {
                "type": "str",
                "choices": ["fail", "keep", "update", "merge", "recreate"],
                "default": "fail",
            },
            "existing_kinds": {"type": "dict"},
            "ordered": {"type": "list", "elements": "str"},
            "images": {"type": "list", "elements": "dict"},
            "check_images": {"type": "bool", "default": True},
            "namespace_annotations": {"type": "dict"},
            "namespace_labels": {"type": "dict"},
            "isolate": {"type": "bool", "default": False},
            "run": {"type": "str"},
            "suspend_cronjobs": {"type": "bool", "default": True},
            "allow_partial": {"type": "bool", "default": False},
            "fail_fast": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
            "workers": {"type": "int", "default": 16},
        },
        required_if=[
            ("state", "present", ("repository", "snapshot")),
            ("state", "absent", ("run", "application"), True),
            ("isolate", True, ("run",)),
        ],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, partial(restore, missing_images=presence.missing), [REQUIREMENT])


if __name__ == "__main__":
    main()
