// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func describeSnapshot(s *Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: s.ID, SourceVolumeId: s.Source, SizeBytes: s.Size, CreationTime: timestamp(s.Created),
		ReadyToUse: !s.NeverReady, GroupSnapshotId: s.Group,
	}
}

// takeSnapshots cuts volumes at one instant. All records or none are there afterwards.
func (d *Driver) takeSnapshots(snapshots []*Snapshot) error {
	var copies []imageCopy
	for _, s := range snapshots {
		volume, err := d.state.volumes.get(s.Source)
		if err != nil {
			return err
		}
		if volume == nil {
			return notFound("volume", s.Source)
		}
		s.Size, s.Block, s.Formatted = volume.Size, volume.Block, volume.Formatted
		copies = append(copies, imageCopy{d.state.volumeImage(volume.ID), d.state.snapshotImage(s.ID)})
	}
	instant, err := d.cut(copies)
	if err != nil {
		return err
	}
	for _, s := range snapshots {
		s.Created = instant
		if err := d.state.snapshots.save(s.ID, s); err != nil {
			return errors.Join(err, d.dropSnapshots(snapshots))
		}
	}
	return nil
}

func (d *Driver) dropSnapshots(snapshots []*Snapshot) error {
	var failures []error
	for _, s := range snapshots {
		err := d.state.snapshots.remove(s.ID)
		if err == nil {
			if err = os.Remove(d.state.snapshotImage(s.ID)); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

func (d *Driver) CreateSnapshot(_ context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if r.GetName() == "" {
		return nil, invalid("no snapshot name given")
	}
	if r.GetSourceVolumeId() == "" {
		return nil, invalid("no source volume ID given")
	}
	neverReady, err := injected(r.GetParameters())
	if err != nil {
		return nil, err
	}
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	existing, err := d.state.snapshots.first(func(s *Snapshot) bool { return s.Name == r.GetName() && s.Group == "" })
	if err != nil {
		return nil, failed(err)
	}
	if existing != nil {
		if existing.Source != r.GetSourceVolumeId() {
			return nil, status.Errorf(codes.AlreadyExists, "snapshot %q exists, of volume %s", r.GetName(), existing.Source)
		}
		return &csi.CreateSnapshotResponse{Snapshot: describeSnapshot(existing)}, nil
	}
	snapshot := &Snapshot{ID: newID("snap"), Name: r.GetName(), Source: r.GetSourceVolumeId(), NeverReady: neverReady}
	if err := d.takeSnapshots([]*Snapshot{snapshot}); err != nil {
		return nil, failed(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: describeSnapshot(snapshot)}, nil
}

func (d *Driver) DeleteSnapshot(_ context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, invalid("no snapshot ID given")
	}
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	snapshot, err := d.state.snapshots.get(r.GetSnapshotId())
	if err != nil {
		return nil, failed(err)
	}
	if snapshot != nil && snapshot.Group != "" {
		return nil, invalid("snapshot %s belongs to group %s: delete the group", snapshot.ID, snapshot.Group)
	}
	if snapshot != nil {
		if err := d.dropSnapshots([]*Snapshot{snapshot}); err != nil {
			return nil, failed(err)
		}
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

func (d *Driver) ListSnapshots(_ context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if err := checkPage(r.GetStartingToken(), r.GetMaxEntries()); err != nil {
		return nil, err
	}
	all, err := d.state.snapshots.all()
	if err != nil {
		return nil, failed(err)
	}
	all = slices.DeleteFunc(all, func(s *Snapshot) bool {
		return r.GetSnapshotId() != "" && r.GetSnapshotId() != s.ID || r.GetSourceVolumeId() != "" && r.GetSourceVolumeId() != s.Source
	})
	snapshots, next := page(all, func(s *Snapshot) string { return s.ID }, r.GetStartingToken(), r.GetMaxEntries())
	reply := &csi.ListSnapshotsResponse{NextToken: next}
	for _, snapshot := range snapshots {
		reply.Entries = append(reply.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: describeSnapshot(snapshot)})
	}
	return reply, nil
}

func (d *Driver) GroupControllerGetCapabilities(context.Context, *csi.GroupControllerGetCapabilitiesRequest) (*csi.GroupControllerGetCapabilitiesResponse, error) {
	return &csi.GroupControllerGetCapabilitiesResponse{Capabilities: []*csi.GroupControllerServiceCapability{{
		Type: &csi.GroupControllerServiceCapability_Rpc{Rpc: &csi.GroupControllerServiceCapability_RPC{
			Type: csi.GroupControllerServiceCapability_RPC_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT}},
	}}}, nil
}

func (d *Driver) describeGroup(g *Group) (*csi.VolumeGroupSnapshot, error) {
	described := &csi.VolumeGroupSnapshot{GroupSnapshotId: g.ID, CreationTime: timestamp(g.Created), ReadyToUse: true}
	for _, id := range g.Snapshots {
		snapshot, err := d.state.snapshots.get(id)
		if err != nil {
			return nil, failed(err)
		}
		if snapshot == nil {
			return nil, status.Errorf(codes.Internal, "group %s lacks its snapshot %s", g.ID, id)
		}
		described.ReadyToUse = described.ReadyToUse && !snapshot.NeverReady
		described.Snapshots = append(described.Snapshots, describeSnapshot(snapshot))
	}
	return described, nil
}

func (d *Driver) CreateVolumeGroupSnapshot(_ context.Context, r *csi.CreateVolumeGroupSnapshotRequest) (*csi.CreateVolumeGroupSnapshotResponse, error) {
	if r.GetName() == "" {
		return nil, invalid("no group snapshot name given")
	}
	sources := slices.Compact(slices.Sorted(slices.Values(r.GetSourceVolumeIds())))
	if len(sources) == 0 {
		return nil, invalid("no source volume IDs given")
	}
	neverReady, err := injected(r.GetParameters())
	if err != nil {
		return nil, err
	}
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	group, err := d.state.groups.first(func(g *Group) bool { return g.Name == r.GetName() })
	if err != nil {
		return nil, failed(err)
	}
	if group != nil && !slices.Equal(group.Sources, sources) {
		return nil, status.Errorf(codes.AlreadyExists, "group snapshot %q exists, of other volumes", r.GetName())
	}
	if group == nil {
		group = &Group{ID: newID("group"), Name: r.GetName(), Sources: sources}
		var members []*Snapshot
		for _, source := range sources {
			member := &Snapshot{ID: newID("snap"), Name: r.GetName(), Source: source, Group: group.ID, NeverReady: neverReady}
			members = append(members, member)
			group.Snapshots = append(group.Snapshots, member.ID)
		}
		if err := d.takeSnapshots(members); err != nil {
			return nil, failed(err)
		}
		group.Created = members[0].Created
		// Last: members without their group are swept away at the next start.
		if err := d.state.groups.save(group.ID, group); err != nil {
			return nil, failed(errors.Join(err, d.dropSnapshots(members)))
		}
	}
	described, err := d.describeGroup(group)
	if err != nil {
		return nil, err
	}
	return &csi.CreateVolumeGroupSnapshotResponse{GroupSnapshot: described}, nil
}

func (d *Driver) GetVolumeGroupSnapshot(_ context.Context, r *csi.GetVolumeGroupSnapshotRequest) (*csi.GetVolumeGroupSnapshotResponse, error) {
	group, err := d.group(r.GetGroupSnapshotId(), r.GetSnapshotIds())
	if err != nil {
		return nil, err
	}
	if group == nil {
		return nil, notFound("group snapshot", r.GetGroupSnapshotId())
	}
	described, err := d.describeGroup(group)
	if err != nil {
		return nil, err
	}
	return &csi.GetVolumeGroupSnapshotResponse{GroupSnapshot: described}, nil
}

// group returns nil if there is none of this ID. Snapshot IDs, where given, must be exactly its members'.
func (d *Driver) group(id string, members []string) (*Group, error) {
	if id == "" {
		return nil, invalid("no group snapshot ID given")
	}
	group, err := d.state.groups.get(id)
	if err != nil {
		return nil, failed(err)
	}
	if group != nil && len(members) > 0 && !slices.Equal(slices.Sorted(slices.Values(members)), slices.Sorted(slices.Values(group.Snapshots))) {
		return nil, invalid("the snapshot IDs are not those of group snapshot %s", id)
	}
	return group, nil
}

func (d *Driver) DeleteVolumeGroupSnapshot(_ context.Context, r *csi.DeleteVolumeGroupSnapshotRequest) (*csi.DeleteVolumeGroupSnapshotResponse, error) {
	if r.GetGroupSnapshotId() == "" {
		return nil, invalid("no group snapshot ID given")
	}
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	group, err := d.group(r.GetGroupSnapshotId(), r.GetSnapshotIds())
	if err != nil {
		return nil, err
	}
	if group == nil {
		return &csi.DeleteVolumeGroupSnapshotResponse{}, nil
	}
	// The group first: a call killed in between leaves members that the next start sweeps away.
	if err := d.state.groups.remove(group.ID); err != nil {
		return nil, failed(err)
	}
	var members []*Snapshot
	for _, id := range group.Snapshots {
		members = append(members, &Snapshot{ID: id})
	}
	if err := d.dropSnapshots(members); err != nil {
		return nil, failed(err)
	}
	return &csi.DeleteVolumeGroupSnapshotResponse{}, nil
}
