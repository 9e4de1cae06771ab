// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// realDriver works on this machine's loop devices and mounts.
func realDriver(t *testing.T) (*Driver, string) {
	t.Helper()
	if os.Getenv("CSI_TEST_NODE") == "" {
		t.Skip("CSI_TEST_NODE is not set: it wants root, loop devices and XFS or btrfs")
	}
	work := t.TempDir()
	root := filepath.Join(work, "pool")
	pool, err := openPool(filepath.Join(work, "base"), root, 8<<30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		all, err := mounts()
		if err != nil {
			t.Fatal(err)
		}
		for i := len(all) - 1; i >= 0; i-- {
			if inside, err := filepath.Rel(work, all[i].path); err == nil && filepath.IsLocal(inside) && all[i].path != root {
				if err := unix.Unmount(all[i].path, 0); err != nil {
					t.Errorf("unmount %s: %v", all[i].path, err)
				}
			}
		}
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("unmount the pool: %v", err)
		}
	})
	d := newDriver("node", pool, linux{})
	if err := d.recover(); err != nil {
		t.Fatal(err)
	}
	return d, work
}

type used struct {
	t               *testing.T
	d               *Driver
	id              string
	staging, target string
	capability      *csi.VolumeCapability
}

func use(t *testing.T, d *Driver, work, id string, c *csi.VolumeCapability) *used {
	t.Helper()
	u := &used{t, d, id, filepath.Join(work, id, "staging"), filepath.Join(work, id, "target"), c}
	u.stage()
	u.publish(false)
	return u
}

func (u *used) stage() {
	u.t.Helper()
	if _, err := u.d.NodeStageVolume(context.Background(), &csi.NodeStageVolumeRequest{
		VolumeId: u.id, StagingTargetPath: u.staging, VolumeCapability: u.capability}); err != nil {
		u.t.Fatal(err)
	}
}

func (u *used) publish(readonly bool) {
	u.t.Helper()
	if _, err := u.d.NodePublishVolume(context.Background(), &csi.NodePublishVolumeRequest{
		VolumeId: u.id, StagingTargetPath: u.staging, TargetPath: u.target, VolumeCapability: u.capability, Readonly: readonly}); err != nil {
		u.t.Fatal(err)
	}
}

func (u *used) unpublish() {
	u.t.Helper()
	if _, err := u.d.NodeUnpublishVolume(context.Background(), &csi.NodeUnpublishVolumeRequest{VolumeId: u.id, TargetPath: u.target}); err != nil {
		u.t.Fatal(err)
	}
}

func (u *used) unstage() {
	u.t.Helper()
	if _, err := u.d.NodeUnstageVolume(context.Background(), &csi.NodeUnstageVolumeRequest{VolumeId: u.id, StagingTargetPath: u.staging}); err != nil {
		u.t.Fatal(err)
	}
}

func (u *used) end() {
	u.t.Helper()
	u.unpublish()
	u.unstage()
	if _, err := u.d.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: u.id}); err != nil {
		u.t.Fatal(err)
	}
}

func stat(t *testing.T, path string) (s unix.Stat_t) {
	t.Helper()
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// load calls write with 1, 2, 3… until it is stopped, at the latest at the end of the test.
func load(t *testing.T, write func(uint64)) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		for i := uint64(1); ; i++ {
			select {
			case <-done:
				return
			default:
				write(i)
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(done)
		writer.Wait()
	})
	t.Cleanup(stop)
	time.Sleep(100 * time.Millisecond)
	return stop
}

func TestNodeCloneOfASnapshotUnderLoad(t *testing.T) {
	d, work := realDriver(t)
	source := use(t, d, work, mustCreate(t, d, volumeRequest("a", 512*mebibyte)).VolumeId, capability(false))
	data := bytes.Repeat([]byte("muster"), 1<<20)
	write(t, source.target+"/before", data)

	stop := load(t, func(i uint64) { _ = os.WriteFile(source.target+"/load", data[:i%uint64(len(data))], 0o600) })
	snapshot := mustSnapshot(t, d, "s", source.id)
	stop()
	write(t, source.target+"/after", nil)

	image := d.state.snapshotImage(snapshot.SnapshotId)
	if output, err := exec.Command("e2fsck", "-f", "-n", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, output)
	}
	clone := use(t, d, work, mustCreate(t, d, fromSnapshot(volumeRequest("c", 1024*mebibyte), snapshot.SnapshotId)).VolumeId, capability(false))
	if got, err := os.ReadFile(clone.target + "/before"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the clone's file: %d bytes, %v", len(got), err)
	}
	if _, err := os.Stat(clone.target + "/after"); err == nil {
		t.Error("the clone has what was written after the snapshot")
	}
	a, b := stat(t, source.target+"/before"), stat(t, clone.target+"/before")
	if a.Dev == b.Dev || a.Ino != b.Ino || a.Ctim != b.Ctim {
		t.Errorf("source %d:%d %v, clone %d:%d %v", a.Dev, a.Ino, a.Ctim, b.Dev, b.Ino, b.Ctim)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(clone.target, &s); err != nil || int64(s.Blocks)*s.Bsize < 900*mebibyte {
		t.Errorf("the clone's file system has %d bytes of 1 GiB, %v", int64(s.Blocks)*s.Bsize, err)
	}
	clone.end()
	source.end()
}

func TestNodeGroupIsOneInstant(t *testing.T) {
	d, work := realDriver(t)
	first := use(t, d, work, mustCreate(t, d, volumeRequest("a", 64*mebibyte)).VolumeId, capability(false))
	second := use(t, d, work, mustCreate(t, d, volumeRequest("b", 64*mebibyte)).VolumeId, capability(false))
	stop := load(t, func(i uint64) {
		var counter [8]byte
		binary.BigEndian.PutUint64(counter[:], i)
		for _, u := range []*used{first, second} {
			if file, err := os.OpenFile(u.target+"/counter", os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
				_, _ = file.Write(counter[:])
				_ = file.Close()
			}
		}
	})
	for range 5 {
		reply, err := d.CreateVolumeGroupSnapshot(context.Background(), &csi.CreateVolumeGroupSnapshotRequest{
			Name: newID("group"), SourceVolumeIds: []string{first.id, second.id}})
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]uint64{}
		for _, s := range reply.GroupSnapshot.Snapshots {
			clone := use(t, d, work, mustCreate(t, d, fromSnapshot(volumeRequest(s.SnapshotId, 0), s.SnapshotId)).VolumeId, capability(false))
			data, err := os.ReadFile(clone.target + "/counter")
			if err != nil || len(data) != 8 {
				t.Fatalf("%v, %v", data, err)
			}
			count[s.SourceVolumeId] = binary.BigEndian.Uint64(data)
			clone.end()
		}
		if ahead := count[first.id] - count[second.id]; ahead > 1 {
			t.Errorf("first %d, second %d: not one instant", count[first.id], count[second.id])
		}
	}
	stop()
	first.end()
	second.end()
}

func TestNodeRawVolume(t *testing.T) {
	d, work := realDriver(t)
	request := volumeRequest("raw", 64*mebibyte)
	request.VolumeCapabilities[0] = capability(true)
	source := use(t, d, work, mustCreate(t, d, request).VolumeId, capability(true))
	data := bytes.Repeat([]byte("raw!"), 1<<18)
	file, err := os.OpenFile(source.target, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(data, 32*mebibyte); err != nil {
		t.Fatal(err)
	}
	snapshot := mustSnapshot(t, d, "s", source.id) // not synced: the snapshot does it
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	again := fromSnapshot(volumeRequest("clone", 0), snapshot.SnapshotId)
	again.VolumeCapabilities[0] = capability(true)
	clone := use(t, d, work, mustCreate(t, d, again).VolumeId, capability(true))
	got := make([]byte, len(data))
	file, err = os.Open(clone.target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.ReadAt(got, 32*mebibyte); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the clone differs: %v", err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err := d.ControllerExpandVolume(context.Background(), &csi.ControllerExpandVolumeRequest{
		VolumeId: clone.id, CapacityRange: &csi.CapacityRange{RequiredBytes: 100 * mebibyte}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.NodeExpandVolume(context.Background(), &csi.NodeExpandVolumeRequest{VolumeId: clone.id, VolumePath: clone.target}); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("blockdev", "--getsize64", clone.target).Output()
	if err != nil || string(bytes.TrimSpace(output)) != "104857600" {
		t.Errorf("size after expansion: %s, %v", output, err)
	}

	// A driver that comes back takes hold of what is published; one that does not find it attached attaches it again.
	next := newDriver("node", d.pool, linux{})
	if err := next.recover(); err != nil {
		t.Fatal(err)
	}
	if next.held[clone.id] == nil || next.held[source.id] == nil {
		t.Error("published raw volumes are not held after a restart")
	}
	for _, u := range []*used{source, clone} {
		if err := d.release(u.id); err != nil {
			t.Fatal(err)
		}
		u.d = next
		u.publish(false)
		u.end()
	}
}

func TestNodeConvergesAfterAPowerCut(t *testing.T) {
	d, work := realDriver(t)
	volume := use(t, d, work, mustCreate(t, d, volumeRequest("a", 64*mebibyte)).VolumeId, capability(false))
	write(t, volume.target+"/kept", []byte("x"))
	for _, path := range []string{volume.target, volume.staging} {
		if err := unix.Unmount(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	if device, err := attached(d.state.volumeImage(volume.id)); err != nil || device != nil {
		t.Fatalf("still attached: %v, %v", device, err)
	}
	_, err := d.NodePublishVolume(context.Background(), &csi.NodePublishVolumeRequest{
		VolumeId: volume.id, StagingTargetPath: volume.staging, TargetPath: volume.target, VolumeCapability: volume.capability})
	wantCode(t, err, codes.FailedPrecondition)
	for range 2 {
		volume.stage()
		volume.publish(false)
	}
	if _, err := os.Stat(volume.target + "/kept"); err != nil {
		t.Error(err)
	}

	volume.publish(true)
	if err := os.WriteFile(volume.target+"/refused", nil, 0o600); err == nil {
		t.Error("a volume published read-only was written to")
	}
	write(t, volume.staging+"/others", nil)
	volume.end()
}

func TestNodeReadOnlyMany(t *testing.T) {
	d, work := realDriver(t)
	source := use(t, d, work, mustCreate(t, d, volumeRequest("a", 64*mebibyte)).VolumeId, capability(false))
	write(t, source.target+"/kept", []byte("x"))
	snapshot := mustSnapshot(t, d, "s", source.id)
	c := capability(false)
	c.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	request := fromSnapshot(volumeRequest("c", 128*mebibyte), snapshot.SnapshotId)
	request.VolumeCapabilities[0] = c
	clone := use(t, d, work, mustCreate(t, d, request).VolumeId, c)
	if _, err := os.Stat(clone.target + "/kept"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(clone.target+"/refused", nil, 0o600); err == nil {
		t.Error("written to")
	}
	mustSnapshot(t, d, "s2", clone.id)
	clone.end()
	source.end()
}

func TestNodeExpansion(t *testing.T) {
	d, work := realDriver(t)
	volume := use(t, d, work, mustCreate(t, d, volumeRequest("a", 64*mebibyte)).VolumeId, capability(false))
	grow := &csi.NodeExpandVolumeRequest{VolumeId: volume.id, VolumePath: volume.target, CapacityRange: &csi.CapacityRange{RequiredBytes: 256 * mebibyte}}
	if _, err := d.NodeExpandVolume(context.Background(), grow); status.Code(err) == codes.FailedPrecondition {
		t.Log(err)
		volume.unpublish()
		volume.unstage()
		volume.stage()
		volume.publish(false)
	}
	if reply, err := d.NodeExpandVolume(context.Background(), grow); err != nil || reply.CapacityBytes != 256*mebibyte {
		t.Fatalf("%v, %v", reply, err)
	}
	statistics, err := d.NodeGetVolumeStats(context.Background(), &csi.NodeGetVolumeStatsRequest{VolumeId: volume.id, VolumePath: volume.target})
	if err != nil || statistics.Usage[0].Total < 200*mebibyte {
		t.Fatalf("%v, %v", statistics, err)
	}
	volume.end()
}

func TestNodeThawAfterAKill(t *testing.T) {
	d, work := realDriver(t)
	volume := use(t, d, work, mustCreate(t, d, volumeRequest("a", 64*mebibyte)).VolumeId, capability(false))
	image := d.state.volumeImage(volume.id)
	f, err := d.host.Filesystem(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.rememberFrozen([]string{image}); err != nil {
		t.Fatal(err)
	}
	if err := f.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil { // as the kernel does when the process dies: the file system stays frozen
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(volume.target+"/blocked", nil, 0o600) }()
	select {
	case <-written:
		t.Error("was not frozen")
	case <-time.After(200 * time.Millisecond):
	}
	if err := newDriver("node", d.pool, linux{}).recover(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-written:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("still frozen")
	}
	volume.end()
}
