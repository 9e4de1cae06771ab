// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	mebibyte    = int64(1) << 20
	defaultSize = 1024 * mebibyte
	minimumSize = 16 * mebibyte // below that ext4 gets no journal
)

// lockedState takes the pool's lock and returns it with the error type that CSI wants.
func (d *Driver) lockedState() (unlock func(), err error) {
	unlock, err = d.pool.exclusive()
	if err != nil {
		return nil, failed(err)
	}
	return unlock, nil
}

// failed gives unexpected errors a CSI code; errors that have one keep it.
func failed(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, errManyRaw) {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func notFound(kind, id string) error {
	return status.Errorf(codes.NotFound, "%s %q does not exist", kind, id)
}

func (d *Driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	reply := &csi.ControllerGetCapabilitiesResponse{}
	for _, capability := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		reply.Capabilities = append(reply.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: capability}},
		})
	}
	return reply, nil
}

// checkCapabilities returns whether a volume is raw; a volume cannot be both raw and formatted.
func checkCapabilities(all []*csi.VolumeCapability) (block bool, err error) {
	if len(all) == 0 {
		return false, invalid("no volume capability given")
	}
	for i, capability := range all {
		if err := checkCapability(capability); err != nil {
			return false, err
		}
		if i > 0 && block != (capability.GetBlock() != nil) {
			return false, invalid("a volume is either block or file system, not both")
		}
		block = capability.GetBlock() != nil
	}
	return block, nil
}

func checkCapability(c *csi.VolumeCapability) error {
	if c == nil {
		return invalid("no volume capability given")
	}
	if c.GetBlock() == nil && c.GetMount() == nil {
		return invalid("the volume capability has no access type")
	}
	if fsType := c.GetMount().GetFsType(); fsType != "" && fsType != "ext4" {
		return invalid("file system %q is not supported, only ext4 is", fsType)
	}
	switch mode := c.GetAccessMode().GetMode(); mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		return nil
	default:
		return invalid("access mode %s is not supported: this is block storage, one node writes", mode)
	}
}

// sizeFor picks a size within the wanted range, in whole MiB, never below the source's.
func sizeFor(wanted *csi.CapacityRange, source int64) (int64, error) {
	required, limit := wanted.GetRequiredBytes(), wanted.GetLimitBytes()
	if required < 0 || limit < 0 || limit > 0 && limit < required {
		return 0, invalid("impossible capacity range: %d to %d bytes", required, limit)
	}
	size := max(required, minimumSize, source)
	if required == 0 && source == 0 {
		size = defaultSize
		if limit > 0 {
			size = max(minimumSize, min(size, limit))
		}
	}
	if required > 0 && required < source {
		return 0, status.Errorf(codes.OutOfRange, "%d bytes are less than the source's %d", required, source)
	}
	size = (size + mebibyte - 1) / mebibyte * mebibyte
	if limit > 0 && size > limit {
		return 0, status.Errorf(codes.OutOfRange, "the volume needs %d bytes, more than the limit of %d", size, limit)
	}
	return size, nil
}

// sourceOf resolves the content source: the image to clone and what is known of it. With no source, image is empty.
func (d *Driver) sourceOf(source *csi.VolumeContentSource) (image string, from Volume, err error) {
	switch {
	case source.GetSnapshot() != nil:
		id := source.GetSnapshot().GetSnapshotId()
		snapshot, err := d.state.snapshots.get(id)
		if err != nil {
			return "", from, failed(err)
		}
		if snapshot == nil {
			return "", from, notFound("snapshot", id)
		}
		if snapshot.NeverReady {
			return "", from, status.Errorf(codes.Unavailable, "snapshot %s is not ready", id)
		}
		return d.state.snapshotImage(id), Volume{ID: id, Size: snapshot.Size, Formatted: snapshot.Formatted, Block: snapshot.Block}, nil
	case source.GetVolume() != nil:
		id := source.GetVolume().GetVolumeId()
		volume, err := d.state.volumes.get(id)
		if err != nil {
			return "", from, failed(err)
		}
		if volume == nil {
			return "", from, notFound("volume", id)
		}
		return d.state.volumeImage(id), *volume, nil
	case source != nil:
		return "", from, invalid("unknown kind of content source")
	}
	return "", from, nil
}

func checkParameters(parameters map[string]string, known ...string) error {
	for name := range parameters {
		// The sidecars add names of claims and snapshots under this prefix.
		if !strings.HasPrefix(name, "csi.storage.k8s.io/") && !slices.Contains(known, name) {
			return invalid("unknown parameter %q in the class", name)
		}
	}
	return nil
}

func (d *Driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if r.GetName() == "" {
		return nil, invalid("no volume name given")
	}
	block, err := checkCapabilities(r.GetVolumeCapabilities())
	if err != nil {
		return nil, err
	}
	if err := checkParameters(r.GetParameters()); err != nil {
		return nil, err
	}
	if len(r.GetMutableParameters()) > 0 {
		return nil, invalid("volume attribute classes are not supported")
	}
	if wanted := r.GetAccessibilityRequirements(); wanted != nil {
		here := func(t *csi.Topology) bool { return t.GetSegments()[topologyKey] == d.pool.id }
		if !slices.ContainsFunc(slices.Concat(wanted.GetRequisite(), wanted.GetPreferred()), here) {
			return nil, status.Errorf(codes.ResourceExhausted, "the volume is wanted where pool %s is not", d.pool.id)
		}
	}
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()

	existing, err := d.state.volumes.first(func(v *Volume) bool { return v.Name == r.GetName() })
	if err != nil {
		return nil, failed(err)
	}
	if existing != nil {
		limit := r.GetCapacityRange().GetLimitBytes()
		wantedSource := r.GetVolumeContentSource().GetSnapshot().GetSnapshotId() + r.GetVolumeContentSource().GetVolume().GetVolumeId()
		if existing.Size < r.GetCapacityRange().GetRequiredBytes() || limit > 0 && existing.Size > limit ||
			existing.Block != block || existing.Source != wantedSource {
			return nil, status.Errorf(codes.AlreadyExists, "volume %q exists with another size, mode or source", r.GetName())
		}
		return &csi.CreateVolumeResponse{Volume: d.describe(existing)}, nil
	}

	sourceImage, source, err := d.sourceOf(r.GetVolumeContentSource())
	if err != nil {
		return nil, err
	}
	size, err := sizeFor(r.GetCapacityRange(), source.Size)
	if err != nil {
		return nil, err
	}
	if free, err := d.pool.capacity(d.state); err != nil {
		return nil, failed(err)
	} else if size > free {
		return nil, status.Errorf(codes.ResourceExhausted, "the pool has %d bytes left, the volume needs %d", free, size)
	}

	volume := &Volume{
		ID: newID("vol"), Name: r.GetName(), Size: size, Block: block, Source: source.ID, Created: time.Now().UTC(),
		Formatted: source.Formatted,
	}
	image := d.state.volumeImage(volume.ID)
	switch {
	case r.GetVolumeContentSource().GetVolume() != nil:
		_, err = d.cut([]imageCopy{{sourceImage, image}})
	case sourceImage != "":
		err = d.host.Clone(sourceImage, image)
	default:
		err = os.WriteFile(image, nil, 0o600)
	}
	if err == nil {
		err = os.Truncate(image, size)
	}
	if err == nil {
		err = d.state.volumes.save(volume.ID, volume)
	}
	if err != nil {
		_ = os.Remove(image)
		return nil, failed(err)
	}
	return &csi.CreateVolumeResponse{Volume: d.describe(volume)}, nil
}

func (d *Driver) describe(v *Volume) *csi.Volume {
	described := &csi.Volume{
		VolumeId: v.ID, CapacityBytes: v.Size,
		AccessibleTopology: []*csi.Topology{{Segments: map[string]string{topologyKey: d.pool.id}}},
	}
	switch {
	case strings.HasPrefix(v.Source, "snap-"):
		described.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: v.Source}}}
	case v.Source != "":
		described.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: v.Source}}}
	}
	return described
}

func (d *Driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, invalid("no volume ID given")
	}
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	volume, err := d.state.volumes.get(r.GetVolumeId())
	if err != nil {
		return nil, failed(err)
	}
	if volume == nil {
		return &csi.DeleteVolumeResponse{}, nil
	}
	image := d.state.volumeImage(volume.ID)
	used, err := d.host.InUse(image)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err)
	}
	if used {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is in use", volume.ID)
	}
	if err := d.state.volumes.remove(volume.ID); err != nil {
		return nil, failed(err)
	}
	if err := os.Remove(image); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (d *Driver) ValidateVolumeCapabilities(_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, invalid("no volume ID given")
	}
	if len(r.GetVolumeCapabilities()) == 0 {
		return nil, invalid("no volume capability given")
	}
	volume, err := d.state.volumes.get(r.GetVolumeId())
	if err != nil {
		return nil, failed(err)
	}
	if volume == nil {
		return nil, notFound("volume", r.GetVolumeId())
	}
	block, err := checkCapabilities(r.GetVolumeCapabilities())
	if err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	if block != volume.Block {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: "the volume has the other volume mode"}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(), Parameters: r.GetParameters(),
	}}, nil
}

func (d *Driver) ListVolumes(_ context.Context, r *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	if err := checkPage(r.GetStartingToken(), r.GetMaxEntries()); err != nil {
		return nil, err
	}
	all, err := d.state.volumes.all()
	if err != nil {
		return nil, failed(err)
	}
	volumes, next := page(all, func(v *Volume) string { return v.ID }, r.GetStartingToken(), r.GetMaxEntries())
	reply := &csi.ListVolumesResponse{NextToken: next}
	for _, volume := range volumes {
		reply.Entries = append(reply.Entries, &csi.ListVolumesResponse_Entry{Volume: d.describe(volume)})
	}
	return reply, nil
}

func checkPage(token string, limit int32) error {
	if limit < 0 {
		return invalid("negative number of entries wanted")
	}
	if token != "" && !wellFormed.MatchString(token) {
		return status.Errorf(codes.Aborted, "%q is not a token of this driver", token)
	}
	return nil
}

func (d *Driver) GetCapacity(_ context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	if t := r.GetAccessibleTopology(); t != nil && t.GetSegments()[topologyKey] != d.pool.id {
		return &csi.GetCapacityResponse{}, nil
	}
	if len(r.GetVolumeCapabilities()) > 0 {
		if _, err := checkCapabilities(r.GetVolumeCapabilities()); err != nil {
			return &csi.GetCapacityResponse{}, nil
		}
	}
	free, err := d.pool.capacity(d.state)
	if err != nil {
		return nil, failed(err)
	}
	return &csi.GetCapacityResponse{AvailableCapacity: free}, nil
}

// ControllerExpandVolume makes the image larger; the node tells the loop device and the file system.
func (d *Driver) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, invalid("no volume ID given")
	}
	if r.GetCapacityRange() == nil {
		return nil, invalid("no capacity range given")
	}
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	volume, err := d.grow(r.GetVolumeId(), r.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: volume.Size, NodeExpansionRequired: true}, nil
}

// grow never makes a volume smaller.
func (d *Driver) grow(id string, wanted *csi.CapacityRange) (*Volume, error) {
	volume, err := d.state.volumes.get(id)
	if err != nil {
		return nil, failed(err)
	}
	if volume == nil {
		return nil, notFound("volume", id)
	}
	if limit := wanted.GetLimitBytes(); limit > 0 && volume.Size > limit {
		return nil, status.Errorf(codes.OutOfRange, "volume %s has %d bytes, more than the limit of %d", id, volume.Size, limit)
	}
	if wanted.GetRequiredBytes() <= volume.Size {
		return volume, nil
	}
	size, err := sizeFor(wanted, 0)
	if err != nil {
		return nil, err
	}
	free, err := d.pool.capacity(d.state)
	if err != nil {
		return nil, failed(err)
	}
	if size-volume.Size > free {
		return nil, status.Errorf(codes.OutOfRange, "the pool has %d bytes left, volume %s needs %d more", free, id, size-volume.Size)
	}
	if err := os.Truncate(d.state.volumeImage(id), size); err != nil {
		return nil, failed(err)
	}
	volume.Size = size
	if err := d.state.volumes.save(id, volume); err != nil {
		return nil, failed(err)
	}
	return volume, nil
}

func timestamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

// injected is the fault that a snapshot class asks for, so that tests can see how backups take it.
func injected(parameters map[string]string) (neverReady bool, err error) {
	if err := checkParameters(parameters, "fault"); err != nil {
		return false, err
	}
	switch fault := parameters["fault"]; fault {
	case "":
		return false, nil
	case "never-ready":
		return true, nil
	case "fail":
		return false, status.Error(codes.Internal, "this snapshot class asks for snapshots that fail (fault: fail)")
	case "exhausted":
		// To the sidecar this error is not final: it goes on trying, and a VolumeSnapshot that is being tried cannot be deleted.
		return false, status.Error(codes.ResourceExhausted, "this snapshot class asks for a pool without space (fault: exhausted)")
	default:
		return false, invalid("unknown fault %q: fail, exhausted and never-ready are known", fault)
	}
}
