# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How objects are changed on their way from the capture to the target."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  namespace_references:
    description:
      - Places in custom resources that name a namespace, beside those that O(namespace_mapping) knows. They follow the
        mapping like those.
    type: list
    elements: dict
    suboptions:
      kinds:
        description:
          - Kinds as globs, for example V(backups.postgresql.example.com).
        type: list
        elements: str
        required: true
      path:
        description:
          - JSON pointer of the field; V(*) stands for every element of a list and every key of a mapping, for example
            V(/spec/watch/*/namespace).
        type: str
        required: true
      holds:
        description:
          - What the field holds. V(namespace) its name, V(namespaced_name) C(namespace/name), V(host) the DNS name of
            a service, V(expression) a text in which C(namespace == "x") or C(namespace="x") is written, V(account) a
            text with C(system:serviceaccount:namespace:name) or C(/ns/namespace/).
        type: str
        choices: [namespace, namespaced_name, host, expression, account]
        default: namespace
  service_names:
    description:
      - Where names of services of mapped namespaces are rewritten - C(service.namespace.svc), with or without the
        cluster's domain and with names of pods before it, and C(service.namespace) where such a service was captured.
      - V(env) values of environment variables, V(commands) commands, arguments and probes, V(configmaps) and V(secrets)
        their texts, V(custom_resources) all texts in them, such as names in certificates and hosts in routes.
      - Every name that is rewritten is listed in RV(objects), in check mode before anything is written. Without this
        option none is.
    type: list
    elements: str
    choices: [env, commands, configmaps, secrets, custom_resources]
  cluster_domains:
    description:
      - Domains of the cluster that names of services may end with.
    type: list
    elements: str
    default: [cluster.local]
  cluster_suffix:
    description:
      - What copies of cluster-scoped objects get behind their names with O(namespace_mapping). Without it O(run) of a
        bubble, else the names of the new namespaces.
    type: str
  suffix_kinds:
    description:
      - Cluster-scoped kinds of which a copy with a suffix is made where namespaces are mapped and the target has an
        object of the same name that differs. References to it in the restored objects follow. Other kinds stay as the
        target has them, and are named with that reason.
      - The default is cluster roles and their bindings, priority classes, webhook configurations and admission
        policies. References to C(runtimeclasses.node.k8s.io), C(ingressclasses.networking.k8s.io),
        C(gatewayclasses.gateway.networking.k8s.io), C(storageclasses.storage.k8s.io),
        C(clusterissuers.cert-manager.io) and C(clustersecretstores.external-secrets.io) are known too.
    type: list
    elements: str
  node_ports:
    description:
      - V(keep) restores node ports with their numbers, V(clear) leaves all to the server, V(user) keeps those that
        somebody chose, as the owners of fields and what C(kubectl apply) remembers tell, and leaves the others to the
        server.
      - Without it they are kept, but cleared where O(namespace_mapping) maps, because the original has them. In a
        bubble they are always cleared.
    type: str
    choices: [keep, clear, user]
  restore_status:
    description:
      - Kinds, as globs, whose status is not dropped. Kinds with a status of its own get it by a second request.
      - Objects that are there already get it, too, even if nothing but the status differs, with the policies V(update),
        V(merge) and V(recreate) of O(existing); what the target's status says besides stays. With V(fail) an object
        that an earlier run restored gets it only if it has none.
    type: list
    elements: str
  keep_finalizers:
    description:
      - Finalizers, as globs, to restore beside those whose controller's API group is at the target. Others are held
        back and named. Without its controller an object that has one can never be deleted; a bubble gets none at all.
    type: list
    elements: str
  restore_deleting:
    description:
      - Whether objects that were being deleted when they were captured are restored too.
    type: bool
    default: false
  static_volumes:
    description:
      - Whether PersistentVolumes that somebody made by hand with the policy C(Retain), an NFS share for example, are
        restored, with their claims bound to them. Their storage must be reachable from the target and not in use by the
        original any more. Never in a bubble.
      - Blocked are volumes of whose name the target has one with other storage or for another claim, volumes whose
        storage another volume of the target uses, and claims whose volume is not there or not theirs.
    type: bool
    default: false
  storage_classes:
    description:
      - Maps storage classes of claims, claim templates and static volumes to those of the target.
    type: dict
  hosts:
    description:
      - Maps hosts of ingresses, gateways, routes, certificates and C(external-dns) annotations. An entry
        V(*.old.example.com) means every host below it; an exact entry goes before it.
    type: dict
  node_labels:
    description:
      - Maps C(label) or C(label=value) in node selectors and node affinities of pods and pod templates. A null value
        drops them.
    type: dict
  tolerations:
    description:
      - Maps C(key) or C(key=value) of tolerations. A null value drops them.
    type: dict
  replicas:
    description:
      - How many replicas objects get. The first entry that fits counts.
    type: list
    elements: dict
    suboptions:
      replicas:
        description:
          - The number.
        type: int
        required: true
      kinds:
        description:
          - Kinds as globs. Custom resources are taken too where they have C(spec.replicas). The default is Deployments,
            StatefulSets, ReplicaSets and ReplicationControllers.
        type: list
        elements: str
      namespaces:
        description:
          - Namespaces as captured, as globs; without it all.
        type: list
        elements: str
      names:
        description:
          - Names as captured, as globs; without it all.
        type: list
        elements: str
  drop_labels:
    description:
      - Labels, as globs, that are taken away from objects and pod templates. What a selector asks for stays.
    type: list
    elements: str
  drop_annotations:
    description:
      - Annotations, as globs, that are taken away from objects and pod templates.
    type: list
    elements: str
  transforms:
    description:
      - Patches of your own. They are applied in their order, after all other options, to each object that they are for.
      - A patch that cannot be applied ends the task before anything is written; the message names transform, object and
        path for all of them. What the object is (its API version, kind, namespace and name) cannot be patched.
      - RV(objects) shows which transforms changed an object. A transform that is for no object is warned about.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - A title for results and errors.
        type: str
      when:
        description:
          - Which objects it is for. All that is given has to hold; without it every object.
        type: dict
        suboptions:
          kinds:
            description:
              - Kinds as globs, such as C(deployments.apps) or C(*.example.com).
            type: list
            elements: str
          namespaces:
            description:
              - Namespaces as captured, as globs.
            type: list
            elements: str
          names:
            description:
              - Names as captured, as globs.
            type: list
            elements: str
          labels:
            description:
              - A label selector, as text (C(app=api,tier in (a,b))) or as a mapping of labels to values.
            type: raw
          conditions:
            description:
              - Conditions on values in the object.
            type: list
            elements: dict
            suboptions:
              path:
                description:
                  - JSON pointer; V(*) stands for every element, of which one has to fulfil the condition.
                type: str
                required: true
              value:
                description:
                  - The value.
                type: raw
              values:
                description:
                  - One of these values.
                type: list
                elements: raw
              matches:
                description:
                  - A regular expression that is found in the value.
                type: str
              exists:
                description:
                  - Whether something is there.
                type: bool
      json_patch:
        description:
          - Operations of a JSON patch (RFC 6902). A C(test) that fails is an error; use O(transforms[].when.conditions)
            to choose objects.
        type: list
        elements: dict
      merge_patch:
        description:
          - A merge patch (RFC 7396).
        type: dict
      strategic_merge_patch:
        description:
          - A strategic merge patch, for kinds of Kubernetes' own. Containers, volumes, environment variables and the
            like are merged by name.
        type: dict
  velero_config:
    description:
      - Velero's own configuration, taken as it is - resource modifiers (C(version) V(v1) with
        C(resourceModifierRules)), plain or in their ConfigMap, and ConfigMaps with the label
        C(velero.io/change-storage-class). Each entry is such a document or the path of a file with one or more of them
        on the host that runs the module.
      - As with Velero, namespaces and names in conditions are those of the capture, and a rule whose C(test) operation
        does not hold leaves the object as it is. Resource modifiers are applied before O(transforms). What is unknown
        in a document is an error.
    type: list
    elements: raw
"""
