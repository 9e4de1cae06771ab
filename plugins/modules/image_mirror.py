#!/usr/bin/python
# Copyright (c) 2026, Muster contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_mirror
short_description: Resolve the images that run to digests, copy them to another place, verify them there
version_added: 0.1.0
author: Muster contributors (@muster-dr)
description:
  - Finds every image that an application runs on a cluster, or on a Docker host, and resolves it to the digest that its
    registry can give back.
  - Copies images by digest to another registry, a directory or a bucket, with all platforms, cosign signatures,
    attestations, SBOMs and OCI 1.1 referrers, without changing a byte.
  - Verifies that everything which the images name is at such a place.
  - Only what is missing at the target is sent. Copies of this module keep a tag C(muster-<digest>), which protects them
    from the registry's garbage collection. Tags are never listed.
  - In a directory (V(oci:/DIRECTORY)) or bucket (V(s3://BUCKET/PREFIX)) the images are an OCI image layout, where every
    blob lies once under its digest. Other tools find an image by the annotation
    C(org.opencontainers.image.ref.name), which is C(<path>:muster-<digest>), for example
    C(skopeo copy oci:DIRECTORY:PATH:muster-0123456789abcdef ...) and C(regctl image copy
    ocidir://DIRECTORY:muster-0123456789abcdef ...).
  - With O(point) such a layout has a small index of its own for each recovery point, C(points/ID/index.json), and the
    blobs are shared. C(skopeo copy --all --preserve-digests --src-shared-blob-dir DIRECTORY/blobs
    oci:DIRECTORY/points/ID:PATH:muster-0123456789abcdef ...) reads from it. After C(ln -s ../../blobs
    DIRECTORY/points/ID/blobs) it is an ordinary layout for every other tool, such as C(crane push). No other tool may
    write into a layout with points; C(regctl), for example, removes blobs that the index which it writes does not name.
extends_documentation_fragment:
  - muster.container_dr.attributes
  - muster.container_dr.cluster
  - muster.container_dr.docker
  - muster.container_dr.registry.sources
  - muster.container_dr.registry.mirrors
  - muster.container_dr.registry.from
  - muster.container_dr.registry.target
  - muster.container_dr.store.optional
  - muster.container_dr.progress
attributes:
  check_mode:
    support: full
    details:
      - Asks the same questions and returns what would be copied, with sizes; nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  application:
    description:
      - The application as the inventory describes it; its C(namespaces) are looked through. They are names and globs,
        of which C(exclude_namespaces) takes some away.
      - Besides what pods and workloads run and mount, these are the images that custom resources name. Where these do
        so is known for common operators; C(image_fields) of the application adds places, as a list of C(kinds)
        (RESOURCE.GROUP, globs allowed) and C(path) (a JSON pointer, V(*) for every element).
      - On a Docker host it has, instead of C(namespaces), C(containers) (names and globs of containers),
        C(compose_projects) (names and globs of Compose projects) or both. Containers count whether they run or not.
      - Services of these projects that have no container count too, such as those that are scaled to 0 or whose profile
        is not active. They are known from the Compose files, which the labels of the project's containers name. A
        warning tells where these cannot be read, for example because O(docker) reaches another machine.
      - C(compose_files) of the application says itself which files a project has, as a list of C(project), C(files)
        and, where these are needed, C(env_files) and C(environment), see the note on Compose files.
      - Images that match a C(pattern) of its C(images.exclude), a glob of V(HOST/REPOSITORY) as in
        O(signatures[].pattern), are neither resolved nor copied, nor are their signatures looked at. They are in
        RV(excluded) with the C(reason) of the first entry that matches. This is about what the application runs, not
        about O(images).
      - A pattern that matches nothing is an error, unless C(allow_no_match) of the application is true.
      - With O(images) only the pull secrets of the namespaces are used.
    type: dict
  images:
    description:
      - Images as this module returned them, or as the document of a recovery point holds them. Each has C(name) and
        C(digest), and C(path) where it was copied before.
      - One without C(digest) may have as C(name) an image in another place than a registry -
        V(docker-archive:/FILE:NAME:TAG), V(docker-daemon:NAME:TAG), V(oci-archive:/FILE:NAME), V(oci:/DIRECTORY:NAME),
        V(s3://BUCKET/PREFIX:NAME). An archive that has one image needs no C(NAME). V(docker-daemon:) is the Docker
        Engine that O(docker) reaches; V(sha256:HEX) is an image of it by its id.
      - Without it, the images that O(application) runs.
    type: list
    elements: dict
  sources:
    description:
      - How to reach the registries and buckets of the images as written, where they need a login or an authority of
        their own.
      - The pull secrets of the application's pods and service accounts are used by themselves.
    type: list
    elements: dict
    default: []
  mirrors:
    description:
      - Registries and other places in which to look for what the original registry does not have any more, below the
        same path as this module copies to, or below the original one.
    type: list
    elements: dict
    default: []
  from:
    description:
      - Copy from this place and the path below it, where this module has copied the images to before, instead of
        from their original registries.
    type: dict
  target:
    description:
      - Copy to this place, below this path. An image V(shop.example.com:5000/web/front) comes to lie at
        C(shop.example.com-5000/web/front) below it.
      - A directory must exist; a file system that is not mounted is noticed that way.
      - Without it, images are resolved and nothing is copied.
    type: dict
  verify:
    description:
      - Copy nothing; check that O(target) has every manifest, configuration and layer of the images.
      - V(digests) reads the manifests and looks whether the rest is there with its size. V(full) reads every byte back
        and hashes it, each layer once.
      - What is not whole fails, with RV(images[].used_by) saying which workloads could not be started from there.
    type: str
    choices: [digests, full]
  attachments:
    description:
      - Whether cosign's tags and referrers travel with the images.
    type: bool
    default: true
  state:
    description:
      - V(present) copies, or verifies, or only resolves.
      - V(absent) removes O(images) from O(target), but only what O(store) says that this module put there, and nothing
        that a recovery point in O(store) needs which has not expired. Layers go when the registry collects its garbage.
        Where a registry does not delete, the images stay and one warning says so.
      - From a directory or a bucket it removes a whole O(point).
    type: str
    choices: [present, absent]
    default: present
  tags:
    description:
      - Whether a copy has the tag of its image as well, besides the one that keeps it. Where several images have one
        name the first of them gets it; none whose tag named another image already when it was resolved.
      - This is for nodes that pull by tag from O(target), see RV(node_mirrors), and for people who look there.
    type: bool
    default: false
  original_names:
    description:
      - Push the images from O(from) back under the names that the workloads have for them, with their tags, to
        registries that have lost them. With O(verify) look whether they are there. O(target) is not used then;
        O(sources) says how to reach those registries.
      - A tag that names another image there is not moved, which fails that image.
    type: bool
    default: false
  platforms:
    description:
      - Platforms to copy and to verify, such as V(linux/amd64). V(linux/arm) takes all its variants. Empty for all.
      - The index stays as it is, with the digest that it has. Where the target does not take an index of which parts
        are missing, all platforms are copied and the image's C(msg) says so.
    type: list
    elements: str
    default: []
  point:
    description:
      - The id of a recovery point. Where O(target) is a directory or a bucket, the images are named in the index of
        that point, C(points/ID/index.json), instead of the one C(index.json) of all. Runs that copy different points do
        not get into each other's way, and a point can be removed again.
      - An image that was proved whole there, see O(store), and that another index names is named in the point without
        a question to its source, with what is attached to it.
      - Where O(from), or O(target) with O(verify), is such a place, its names are read from the index of that point,
        where it has one. Otherwise, and without O(point), they are read from all its indexes, of several that have one
        name from the newest point's. With O(verify) the index of the point has to name the images.
      - With O(state=absent) that index is removed, and all blobs that no other index of the place needs, but only where
        O(store) has no such recovery point or it has expired. O(images) and O(application) are left out then.
      - While one run removes, others wait before they copy to that place, for some minutes at the most. While one
        copies, no blobs are removed. They go with the next point that is removed, and a warning says so.
    type: str
    default: ""
  store:
    description:
      - Where to keep, in C(images/PLACE.json), which images were proved whole at O(target) and when. With that an image
        which is unchanged costs one request; without it, all that it names is looked for each time.
      - C(muster.container_dr.backup) and C(muster.container_dr.replicate) give the store of the site.
  recheck_after:
    description:
      - How long such a proof holds, such as V(12h). Then everything below the image is looked for again, what is
        missing is sent, and signatures that were added at the source are fetched.
      - V(0) looks each time.
    type: str
    default: 24h
  signatures:
    description:
      - Whose signatures images must have. The first rule whose pattern matches an image decides; what none matches is
        not looked at.
      - cosign's signatures by keys are verified, in both layouts, tags C(sha256-<hex>.sig) and sigstore bundles as
        referrers. That needs neither cosign nor any service. Signatures by identity (with a certificate, keyless) and
        of Notation are reported as present and not verified.
      - They are looked for where the images are read. That is O(target) with O(verify), else O(from) or the
        original registry. Without O(target) they are verified, too.
    type: list
    elements: dict
    default: []
    suboptions:
      pattern:
        description:
          - Glob of V(HOST/REPOSITORY) as the workload names the image, without tag and digest, for example
            V(registry.example.com/shop/*). A C(*) stands for any text, slashes too.
          - Images of Docker Hub have their full name, such as V(docker.io/library/nginx).
        type: str
        required: true
      policy:
        description:
          - V(off) does not look at signatures.
          - V(report) puts the verdict into the result and warns of images that are not verified.
          - V(require) fails every image that is not verified, before anything of it is copied.
        type: str
        required: true
        choices: ["off", report, require]
      keys:
        description:
          - Public keys that may sign, or certificates that hold one, each as PEM text or as the name of a file.
            Of a certificate the key is used and nothing else, not its dates, names or issuer.
          - ECDSA (P-256, P-384, P-521), RSA of 2048 bits or more (PKCS#1 v1.5 and PSS) and Ed25519.
        type: list
        elements: str
        default: []
      threshold:
        description:
          - How many of the keys must have signed.
        type: int
        default: 1
  allow_unresolved:
    description:
      - Whether images that cannot be resolved to a digest are only reported instead of failing the task.
    type: bool
    default: false
  spool_dir:
    description:
      - Directory in which large layers (32 MiB and more) are put by where one side of a copy is much slower than the
        other, or where an upload broke. A slow target then does not keep the source waiting, and an upload that is
        repeated does not download again. E(TMPDIR) by default.
      - Where both sides are about as fast nothing is written there. The files have no names and go with the module
        however it ends. Where the disk is full the layers are copied without, which a warning says.
    type: path
  spool_size:
    description:
      - How much of O(spool_dir) may be taken at a time, such as V(500M). It is never more than half of what is free
        there. A layer for which there is no room is copied without being put by. V(0) puts nothing by.
    type: str
    default: 4G
  workers:
    description:
      - Number of images that are worked on at the same time, and about twice as many layers and looks for signatures
        beside them. What a registry can bear is set with its C(connections), C(requests_per_second) and
        C(bytes_per_second). Registries that are far away are worth a larger number.
    type: int
    default: 8
  fail_fast:
    description:
      - Begin no further image after one has failed.
    type: bool
    default: false
notes:
  - Where a registry is given neither a user nor an C(auth_file), the usual files and credential helpers of
    C(docker login) and C(podman login) are used.
  - An image is resolved by the digest in the workload (RV(images[].resolved_by=spec_digest)), by the digest that the
    node runs in the repository as written (V(image_id)) or as the node names it (V(image_id_repository)), in O(mirrors)
    (V(mirror)), by a tag whose configuration is what runs (V(config_digest)). Only what does not run is resolved by its
    V(tag).
  - On a Docker host the digests by which the image was pulled or pushed (C(RepoDigests)) take the place of those that a
    node reports, and what a container was made from is never resolved by its tag. What is nowhere else comes last
    of all from the daemon (V(export)), because the host is then the only place that has it. That is so for what was
    built there, for what its registry has lost, and where the registry does not answer or refuses. A warning tells of
    each image for which another digest was expected.
  - The files in C(compose_files) of O(application) are absolute paths on the machine of this task, in the order that
    Compose has them in; a project whose files are named there belongs to the application. Without C(env_files) there
    is C(.env) beside the first file, if at all. C(environment) is what the shell has when Compose runs, of which this
    module knows nothing else. Empty C(files) say that the project has no service without a container.
  - Of Compose files everything counts that decides on a service's image, that is C(image), C(build), C(extends),
    C(include), several files, C(!reset), C(!override) and variables with their defaults. An image whose variable has
    no value is not resolved. Of what Compose builds and has not built there, there is no image, and of files of other
    machines C(include) is not read; warnings say so.
  - The image of a service without a container is the one that Docker has of its name. What Docker does not have is
    resolved by its V(tag), or by the digest that the file says.
  - Docker keeps no manifest of an image, so one from V(docker-archive:) or V(docker-daemon:) gets one that is made from
    its configuration and layers, the same each time. Its digest is a new one, as RV(images[].resolved_by=export) and
    RV(images[].msg) say. Only the image store of containerd keeps manifests, and then the image keeps its digest.
  - Each image that is exported needs room for all its layers in E(TMPDIR) until the module ends, in check mode too.
  - The proxies of C(HTTPS_PROXY), C(HTTP_PROXY) and C(NO_PROXY) are used, with the login in their URL.
  - Where a registry sends us to another host for a layer, its login does not go there. A host that lies further inside
    the network than the registry itself is only followed to where it is named among the registries, for example in
    O(sources).
  - Docker Hub is left, with an error, when five pulls of its limit are left.
  - A tag that has moved since the pods started is reported in RV(images[].tag_digest); the image that runs is used.
    Where no registry has that image any more, the task fails.
  - A signature is one of the digest that runs. That of an index covers the images of its platforms, as the index names
    them by digest; that of one platform's image does not cover the index.
requirements:
  - boto3 >= 1.36 (Python package), for V(s3://) places and stores
  - cryptography >= 42.0.0, where O(signatures) has keys
  - PyYAML (Python package), for the files of Compose projects
seealso:
  - module: muster.container_dr.recovery_point
"""

EXAMPLES = r"""
- name: Which images does the shop run
  muster.container_dr.image_mirror:
    kubeconfig: east.kubeconfig
    application:
      name: shop
      namespaces: [shop]
      image_fields:
        - kinds: shops.example.com
          path: /spec/parts/*/image
  register: running

- name: Copy what a Docker host runs, also what was only built there, to an object store
  muster.container_dr.image_mirror:
    docker:
      docker_host: ssh://ops@dock1.example.com
    application:
      name: wiki
      compose_projects: [wiki]
      containers: ["proxy-*"]
    target:
      name: s3://backup/images
      endpoint_url: https://s3.east.example.com
      access_key: muster
      secret_key: "{{ bucket_key }}"

- name: The same with services that have no container, of a host whose Compose files are not on this machine
  muster.container_dr.image_mirror:
    docker:
      docker_host: ssh://ops@dock1.example.com
    application:
      name: wiki
      compose_files:
        - project: wiki
          files: [/srv/deploy/wiki/compose.yaml, /srv/deploy/wiki/production.yaml]
          environment: {TAG: "1.4"}

- name: Copy them to the backup registry
  muster.container_dr.image_mirror:
    kubeconfig: east.kubeconfig
    application:
      name: shop
      namespaces: [shop]
    images: "{{ running.images }}"
    target:
      name: registry.east.example.com/backup
      username: muster
      password: "{{ registry_password }}"
      ca_cert: /etc/ssl/company.pem
  register: copied

- name: Copy them on to the other site
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    from:
      name: registry.east.example.com/backup
      username: muster
      password: "{{ registry_password }}"
    target:
      name: registry.west.example.com
      username: muster
      password: "{{ registry_password }}"

- name: Keep them in a bucket
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    from:
      name: registry.east.example.com/backup
      auth_file: ~/.config/containers/auth.json
    target:
      name: s3://backup/images
      endpoint_url: https://s3.west.example.com
      access_key: muster
      secret_key: "{{ bucket_key }}"

- name: From Docker Hub, with an account for its higher limit of pulls
  muster.container_dr.image_mirror:
    kubeconfig: east.kubeconfig
    application: {name: shop, namespaces: [shop]}
    sources:
      - name: docker.io
        username: company
        password: "{{ docker_hub_access_token }}"
    target: "{{ muster_site.registry }}"
    store: "{{ muster_site.store }}"

- name: From GitHub's registry, with a classic token that has read:packages
  muster.container_dr.image_mirror:
    kubeconfig: east.kubeconfig
    application: {name: shop, namespaces: [shop]}
    sources:
      - name: ghcr.io
        username: company-bot
        password: "{{ github_token }}"
    target: "{{ muster_site.registry }}"
    store: "{{ muster_site.store }}"

- name: To Amazon ECR, where a repository has to exist or a creation template has to make it
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    from: "{{ muster_site.registry }}"
    target:
      name: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/backup
      username: AWS
      # Good for twelve hours. Instead of both, auth_file may name a file with the helper ecr-login in credHelpers.
      password: "{{ lookup('ansible.builtin.pipe', 'aws ecr get-login-password --region eu-central-1') }}"

- name: To Google's Artifact Registry, below a repository of the project, with the key of a service account
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    from: "{{ muster_site.registry }}"
    target:
      name: europe-docker.pkg.dev/company-project/backup
      username: _json_key
      password: "{{ lookup('ansible.builtin.file', '/etc/muster/artifact-registry.json') }}"

- name: To Harbor, with a robot account of the project and the company's own authority
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    from: "{{ muster_site.registry }}"
    target:
      name: harbor.west.example.com/backup
      username: robot$backup+muster
      password: "{{ harbor_robot_secret }}"
      ca_cert: /etc/ssl/company.pem

- name: Let nodes take what their registry has lost from the copies, without a change to any workload
  ansible.builtin.copy:
    dest: "{{ item.path }}"
    # Where the place wants a login for pulls, containerd reads it from here, too.
    content: |
      {{ item.content }}
      [host."{{ item.host }}".header]
        authorization = "Basic {{ ('muster:' ~ registry_password) | b64encode }}"
    owner: root
    group: root
    mode: "0600"
  loop: "{{ copied.node_mirrors }}"
  delegate_to: west-node-1

- name: Bring an image that was only built and saved
  muster.container_dr.image_mirror:
    images:
      - name: docker-archive:/srv/incoming/web.tar:shop/web:1.4
    target:
      name: oci:/srv/backup/images

- name: Give a registry that was built anew what it had
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    from:
      name: registry.west.example.com
      auth_file: ~/.config/containers/auth.json
    sources:
      - name: registry.east.example.com
        username: muster
        password: "{{ registry_password }}"
    original_names: true

- name: Remove images of a recovery point that has expired, unless another one needs them
  muster.container_dr.image_mirror:
    state: absent
    images: "{{ expired.document.images }}"
    target:
      name: registry.west.example.com
      auth_file: ~/.config/containers/auth.json
    store: "{{ muster_site.store }}"

- name: Keep the images of each recovery point in a bucket under its own index
  muster.container_dr.image_mirror:
    images: "{{ sealed.document.images }}"
    from: "{{ muster_site.registry }}"
    target: "{{ image_bucket }}"
    point: "{{ sealed.document.id }}"
    store: "{{ muster_site.store }}"

- name: Remove from it a recovery point that has expired
  muster.container_dr.image_mirror:
    state: absent
    point: "{{ expired.document.id }}"
    target: "{{ image_bucket }}"
    store: "{{ muster_site.store }}"

- name: Verify that the other site has all of them, and that our own are signed by both teams
  muster.container_dr.image_mirror:
    images: "{{ copied.images }}"
    target:
      name: registry.west.example.com
      auth_file: ~/.config/containers/auth.json
    verify: digests
    signatures:
      - pattern: registry.east.example.com/*
        policy: require
        keys: [/etc/muster/build.pub, /etc/muster/release.pub]
        threshold: 2
      - pattern: "*"
        policy: report
"""

RETURN = r"""
images:
  description: One entry per image, in the order of O(images), else ordered by name. Returned on failure too.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The image as written. A container that names its image by an id has V(sha256:HEX), the whole id.
      type: str
      sample: registry.east.example.com/shop/web:1.4
    digest:
      description: What it stands for; empty where that could not be found.
      type: str
      sample: sha256:7cc4b5aefd1d0cadf8d97d4350462ba51c694ebca145b08d7d41b41acc8db5aa
    media_type:
      description: Media type of the manifest or index.
      type: str
      sample: application/vnd.oci.image.index.v1+json
    size:
      description: Bytes of all its manifests, configurations and layers, each counted once.
      type: int
      sample: 48211034
    platforms:
      description: Platforms that it serves.
      type: list
      elements: str
      sample: [linux/amd64, linux/arm64]
    resolved_by:
      description: How the digest was found, or V(unresolved).
      type: str
      sample: image_id
    tag_digest:
      description: What the tag names now, where that is another image than runs.
      type: str
      sample: null
    repository:
      description: Where the digest was found. V(docker-daemon:sha256:HEX) is an image of a Docker host by its id.
      type: str
      sample: registry.east.example.com/shop/web
    path:
      description:
        - Repository path of its copies below any target. An image without a name has that of the repository where it
          was found, or C(untagged/) with the first twelve digits of its id.
      type: str
      sample: registry.east.example.com/shop/web
    used_by:
      description:
        - Workloads and containers that use it. On a Docker host V(containers/NAME), or V(PROJECT/services/SERVICE:NAME)
          of a Compose project, V(PROJECT/services/SERVICE) where it has no container.
      type: list
      elements: str
      sample: ["shop/deployments/web:web"]
    nodes:
      description: Nodes whose pods run it, or the name of the Docker host.
      type: list
      elements: str
      sample: [east-worker]
    signatures:
      description:
        - The verdict on its signatures; empty where O(signatures) was not set. With O(images) the verdict that was
          given is returned where there is no new one.
      type: dict
      contains:
        verdict:
          description:
            - V(verified) where enough keys signed it.
            - V(unsigned) where no signature is attached to it.
            - V(invalid) where those that are there are by other keys, of another image (replayed), broken or too few.
            - V(not_verified) where they cannot be verified here, because of their kind, for want of keys, or as the
              registry did not answer.
            - V(off) where no rule asks for signatures.
          type: str
          sample: verified
        policy:
          description: Policy of the rule that decided.
          type: str
          sample: require
        signed_by:
          description:
            - Fingerprints of the keys that signed (SHA-256 of the public key's DER form), no more than
              O(signatures[].threshold) asks for.
          type: list
          elements: str
          sample: ["sha256:3f8a4b0e9a2d5c7716c8b7ff0a9d51c0b5f1d7d0be6c1f1a5c9e2f7d4b6a8091"]
        reason:
          description: Why it is not verified.
          type: str
          sample: ""
    target:
      description: The copy's full name.
      type: str
      sample: null
    bytes_copied:
      description: Bytes that were sent for it. In check mode, that would be sent.
      type: int
      sample: 0
    blobs_copied:
      description: Layers and configurations that were sent.
      type: int
      sample: 0
    blobs_mounted:
      description: Layers and configurations that another repository of the target already had.
      type: int
      sample: 0
    changed:
      description: Whether anything was written for it.
      type: bool
      sample: false
    failed:
      description: Whether it could not be resolved, copied or verified.
      type: bool
      sample: false
    msg:
      description: What became of it.
      type: str
      sample: already there
node_mirrors:
  description:
    - For each registry by which the images are named, the file by which containerd on a node takes them from
      O(target) instead. Its C(config_path) has to be C(/etc/containerd/certs.d); O(target.ca_cert) belongs beside it
      as C(ca.crt).
    - By tag only with O(tags). What the copies do not have is asked of that registry, by plain HTTP where O(sources)
      says so of it.
  type: list
  elements: dict
  returned: when copied to a registry
  contains:
    registry:
      description: Host and port of that registry.
      type: str
      sample: registry.east.example.com
    host:
      description: Where the copies are, as the file names it. Header lines of a login belong below that name.
      type: str
      sample: https://registry.west.example.com/v2/backup/registry.east.example.com
    path:
      description: Where the file belongs.
      type: str
      sample: /etc/containerd/certs.d/registry.east.example.com/hosts.toml
    content:
      description: What belongs into it.
      type: str
excluded:
  description: Images that C(images.exclude) of O(application) leaves out, each with C(what) and C(why).
  type: list
  elements: dict
  returned: always
  sample: [{what: "image:dev.example.com/shop/tools:latest", why: is built on every node}]
bytes_copied:
  description: Bytes that were sent in all.
  type: int
  returned: always
  sample: 0
blobs_copied:
  description: Layers and configurations that were sent in all.
  type: int
  returned: always
  sample: 0
blobs_mounted:
  description: Layers and configurations that were linked from another repository of the target.
  type: int
  returned: always
  sample: 0
blobs_removed:
  description: Manifests, configurations and layers that went with O(point). In check mode, that would go.
  type: int
  returned: when O(state=absent) and O(point) is set
  sample: 12
bytes_removed:
  description: Bytes of these.
  type: int
  returned: when O(state=absent) and O(point) is set
  sample: 48211034
copied:
  description: Number of images for which something was written.
  type: int
  returned: always
  sample: 0
unchanged:
  description: Number of images for which nothing had to be done.
  type: int
  returned: always
  sample: 3
logins:
  description:
    - Which login each registry that was asked has accepted, by user and by where the login comes from, or V(anonymous).
    - Never a password or a token.
  type: dict
  returned: always
  sample:
    registry.east.example.com: user muster from the options of registry registry.east.example.com/backup
    docker.io: anonymous
failures:
  description: Number of images that failed.
  type: int
  returned: always
  sample: 0
"""

from ansible_collections.muster.container_dr.plugins.module_utils._core.options import (
    CLUSTER,
    DOCKER,
    IMAGE_PLACE_ARGUMENTS,
    PROGRESS,
    SIGNATURE_ARGUMENTS,
    Options,
    application,
    image_place,
    store,
)
from ansible_collections.muster.container_dr.plugins.module_utils._module import run
from ansible_collections.muster.container_dr.plugins.module_utils._oci.mirror import mirror

_PLACES = {"type": "list", "elements": "dict", "default": [], "options": IMAGE_PLACE_ARGUMENTS}

OPTIONS = (
    CLUSTER
    + DOCKER
    + application(required=False)
    + image_place("from")
    + image_place("target")
    + store(required=False)
    + PROGRESS
    + Options(
        arguments={
            "images": {"type": "list", "elements": "dict"},
            "sources": _PLACES,
            "mirrors": _PLACES,
            "verify": {"type": "str", "choices": ["digests", "full"]},
            "attachments": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tags": {"type": "bool", "default": False},
            "point": {"type": "str", "default": ""},
            "original_names": {"type": "bool", "default": False},
            "platforms": {"type": "list", "elements": "str", "default": []},
            "recheck_after": {"type": "str", "default": "24h"},
            "signatures": {"type": "list", "elements": "dict", "default": [], "options": SIGNATURE_ARGUMENTS},
            "allow_unresolved": {"type": "bool", "default": False},
            "spool_dir": {"type": "path"},
            "spool_size": {"type": "str", "default": "4G"},
            "workers": {"type": "int", "default": 8},
            "fail_fast": {"type": "bool", "default": False},
        },
        required_one_of=[("application", "images", "point")],
        required_if=[
            ("state", "absent", ("target", "store")),
            ("state", "absent", ("images", "point"), True),
            ("verify", "digests", ("target", "original_names"), True),
            ("verify", "full", ("target", "original_names"), True),
        ],
        mutually_exclusive=[("target", "original_names")],
    )
)


def main() -> None:
    """Entry point."""
    run(OPTIONS, mirror)


if __name__ == "__main__":
    main()
