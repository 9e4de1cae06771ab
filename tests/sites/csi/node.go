// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Every call here looks at what is mounted and attached now, and remembers nothing: after a node was killed and started again
// the kubelet repeats its calls, over folders whose mounts are gone.

func (d *Driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	reply := &csi.NodeGetCapabilitiesResponse{}
	for _, capability := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		reply.Capabilities = append(reply.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: capability}},
		})
	}
	return reply, nil
}

func (d *Driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId: d.node, AccessibleTopology: &csi.Topology{Segments: map[string]string{topologyKey: d.pool.id}},
	}, nil
}

// volumeFor finds the volume of a node call and checks that it is used as it was made.
func (d *Driver) volumeFor(id string, capability *csi.VolumeCapability) (*Volume, error) {
	volume, err := d.state.volumes.get(id)
	if err != nil {
		return nil, failed(err)
	}
	if volume == nil {
		return nil, notFound("volume", id)
	}
	if volume.Block != (capability.GetBlock() != nil) {
		return nil, invalid("volume %s has the other volume mode", id)
	}
	return volume, nil
}

func readsOnly(c *csi.VolumeCapability) bool {
	switch c.GetAccessMode().GetMode() {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		return true
	}
	return slices.Contains(c.GetMount().GetMountFlags(), "ro")
}

// use attaches a volume, formatting it the first time.
func (d *Driver) use(id string, capability *csi.VolumeCapability) (*loopDevice, error) {
	unlock, err := d.pool.exclusive()
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Read again under the lock: another node may have formatted it meanwhile.
	volume, err := d.volumeFor(id, capability)
	if err != nil {
		return nil, err
	}
	image := d.state.volumeImage(id)
	if !volume.Block && !volume.Formatted {
		// The image is all holes, so mkfs and, later, the kernel need not write zeros; prezeroed says so.
		if err := run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard,assume_storage_prezeroed=1", image); err != nil {
			return nil, err
		}
		volume.Formatted = true
		if err := d.state.volumes.save(id, volume); err != nil {
			return nil, err
		}
	}
	return attach(image, readsOnly(capability), true)
}

func (d *Driver) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	id, staging := r.GetVolumeId(), r.GetStagingTargetPath()
	if id == "" {
		return nil, invalid("no volume ID given")
	}
	if staging == "" {
		return nil, invalid("no staging path given")
	}
	if err := checkCapability(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	defer d.busy.lock(id)()
	volume, err := d.volumeFor(id, r.GetVolumeCapability())
	if err != nil {
		return nil, err
	}
	readonly := readsOnly(r.GetVolumeCapability())
	device, err := d.use(id, r.GetVolumeCapability())
	if err != nil {
		return nil, failed(err)
	}
	if volume.Block {
		d.hold(id, device)
		return &csi.NodeStageVolumeResponse{}, nil
	}
	defer device.Close()

	found, err := mountAt(staging)
	if err != nil {
		return nil, failed(err)
	}
	if found != nil && found.device != device.number {
		if err := unmountAll(staging); err != nil {
			return nil, failed(err)
		}
		found = nil
	}
	if found == nil {
		if err := os.MkdirAll(staging, 0o750); err != nil {
			return nil, failed(err)
		}
		// A clone may be larger than its source, and a volume may have grown while nobody used it.
		if err := growUnmounted(device, volume); err != nil {
			return nil, failed(err)
		}
		options := append([]string{"rw"}, r.GetVolumeCapability().GetMount().GetMountFlags()...)
		if readonly {
			options = append(options, "ro")
		}
		if err := run("mount", "-t", "ext4", "-o", strings.Join(options, ","), device.path, staging); err != nil {
			return nil, failed(err)
		}
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (d *Driver) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	id, staging := r.GetVolumeId(), r.GetStagingTargetPath()
	if id == "" {
		return nil, invalid("no volume ID given")
	}
	if staging == "" {
		return nil, invalid("no staging path given")
	}
	defer d.busy.lock(id)()
	// Outside the pool's lock: unmounting writes out what is left, which may take long. The device detaches by itself.
	if err := errors.Join(unmountAll(staging), d.release(id)); err != nil {
		return nil, failed(err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func (d *Driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	id, staging, target := r.GetVolumeId(), r.GetStagingTargetPath(), r.GetTargetPath()
	if id == "" {
		return nil, invalid("no volume ID given")
	}
	if target == "" {
		return nil, invalid("no target path given")
	}
	if err := checkCapability(r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if staging == "" {
		return nil, status.Error(codes.FailedPrecondition, "no staging path given")
	}
	defer d.busy.lock(id)()
	volume, err := d.volumeFor(id, r.GetVolumeCapability())
	if err != nil {
		return nil, err
	}
	readonly := r.GetReadonly() || readsOnly(r.GetVolumeCapability())

	var device *loopDevice
	if volume.Block {
		// Attached again if the driver was restarted between staging and now.
		if device, err = d.use(id, r.GetVolumeCapability()); err == nil {
			d.hold(id, device)
		}
	} else if device, err = attached(d.state.volumeImage(id)); err == nil && device != nil {
		defer device.Close()
	}
	if err != nil {
		return nil, failed(err)
	}
	if !volume.Block {
		staged, err := mountAt(staging)
		if err != nil {
			return nil, failed(err)
		}
		if device == nil || staged == nil || staged.device != device.number {
			return nil, status.Errorf(codes.FailedPrecondition, "volume %s is not staged at %s", id, staging)
		}
	}
	if r.GetVolumeCapability().GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER {
		other, err := publishedElsewhere(device, staging, target)
		if err != nil {
			return nil, failed(err)
		}
		if other != "" {
			return nil, status.Errorf(codes.FailedPrecondition, "volume %s is for a single writer and published at %s", id, other)
		}
	}
	if volume.Block {
		err = publishDevice(device, target)
	} else {
		err = publishFolder(device, staging, target, readonly)
	}
	if err != nil {
		return nil, failed(err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// publishedElsewhere finds another target of the volume on this node.
func publishedElsewhere(device *loopDevice, staging, target string) (string, error) {
	all, err := mounts()
	if err != nil {
		return "", err
	}
	for _, m := range all {
		ours := m.device == device.number || loopFile.MatchString(m.root) && isDevice(m.path, device.number)
		if ours && m.path != filepath.Clean(staging) && m.path != filepath.Clean(target) && !notATarget(m.path) {
			return m.path, nil
		}
	}
	return "", nil
}

// notATarget knows the mounts that the kubelet makes of a published volume, and that of a snapshot being taken.
func notATarget(path string) bool {
	return strings.HasPrefix(filepath.Base(path), freezeFolder) || strings.Contains(path, "/volume-subpaths/") || strings.Contains(path, "/volumeDevices/") && !strings.Contains(path, "/volumeDevices/publish/")
}

func publishFolder(device *loopDevice, staging, target string, readonly bool) error {
	found, err := mountAt(target)
	if err != nil {
		return err
	}
	if found != nil {
		if found.device == device.number && found.ro == readonly {
			return nil
		}
		if err := unmountAll(target); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if err := unix.Mount(staging, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", staging, target, err)
	}
	if !readonly {
		return nil
	}
	// A bind mount takes "read-only" only when it is mounted once more, and must then repeat the flags that it has.
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	var now unix.Statfs_t
	if err := unix.Statfs(target, &now); err != nil {
		return errors.Join(err, unmountAll(target))
	}
	flags |= uintptr(now.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if err := unix.Mount("", target, "", flags, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read-only: %w", target, err), unmountAll(target))
	}
	return nil
}

// publishDevice binds the device's file: a file made by mknod would survive a reboot and then mean another volume's device.
func publishDevice(device *loopDevice, target string) error {
	found, err := mountAt(target)
	if err != nil {
		return err
	}
	if found != nil {
		if isDevice(target, device.number) {
			return nil
		}
		if err := unmountAll(target); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := unix.Mount(device.path, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", device.path, target, err)
	}
	return nil
}

func (d *Driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, invalid("no volume ID given")
	}
	if r.GetTargetPath() == "" {
		return nil, invalid("no target path given")
	}
	defer d.busy.lock(r.GetVolumeId())()
	if err := unmountAll(r.GetTargetPath()); err != nil {
		return nil, failed(err)
	}
	// Not RemoveAll: should a mount have been missed, the data below it is not ours to delete.
	if err := os.Remove(r.GetTargetPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// inUse finds the device of a volume that is published or staged at a path.
func (d *Driver) inUse(id, path string) (*Volume, *loopDevice, error) {
	if id == "" {
		return nil, nil, invalid("no volume ID given")
	}
	if path == "" {
		return nil, nil, invalid("no volume path given")
	}
	volume, err := d.state.volumes.get(id)
	if err != nil {
		return nil, nil, failed(err)
	}
	if volume == nil {
		return nil, nil, notFound("volume", id)
	}
	device, err := attached(d.state.volumeImage(id))
	if err != nil {
		return nil, nil, failed(err)
	}
	var found unix.Stat_t
	if device == nil || unix.Stat(path, &found) != nil || !volume.Block && found.Dev != device.number {
		if device != nil {
			_ = device.Close()
		}
		return nil, nil, status.Errorf(codes.NotFound, "volume %s is not at %s", id, path)
	}
	return volume, device, nil
}

func (d *Driver) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	volume, device, err := d.inUse(r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	defer device.Close()
	if volume.Block {
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: volume.Size}}}, nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(r.GetVolumePath(), &s); err != nil {
		return nil, failed(err)
	}
	blocks := func(count uint64) int64 { return int64(count) * s.Bsize }
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: blocks(s.Blocks), Available: blocks(s.Bavail), Used: blocks(s.Blocks - s.Bfree)},
		{Unit: csi.VolumeUsage_INODES, Total: int64(s.Files), Available: int64(s.Ffree), Used: int64(s.Files - s.Ffree)},
	}}, nil
}

func (d *Driver) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	_, device, err := d.inUse(r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	defer device.Close()
	defer d.busy.lock(r.GetVolumeId())()
	unlock, err := d.lockedState()
	if err != nil {
		return nil, err
	}
	defer unlock()
	volume, err := d.grow(r.GetVolumeId(), r.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	if err := device.adopt(); err != nil {
		return nil, failed(err)
	}
	if !volume.Block {
		if err := growMounted(device, volume); err != nil {
			return nil, failed(err)
		}
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: volume.Size}, nil
}
