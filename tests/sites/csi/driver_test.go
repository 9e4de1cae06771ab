// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fakeHost copies instead of reflinking and writes down what happens in which order.
type fakeHost struct {
	used   map[string]bool // images in use; true: raw
	events []string
	fail   string // the event that fails
	slow   time.Duration
}

func (h *fakeHost) happens(event string) error {
	h.events = append(h.events, event)
	if event == h.fail {
		return errors.New("as asked")
	}
	return nil
}

func (h *fakeHost) Clone(source, target string) error {
	if err := h.happens("clone " + filepath.Base(source)); err != nil {
		return err
	}
	time.Sleep(h.slow)
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return os.WriteFile(target, data, 0o600)
}

func (h *fakeHost) InUse(image string) (bool, error) {
	_, used := h.used[image]
	return used, nil
}

func (h *fakeHost) Filesystem(image string) (filesystem, error) {
	raw, used := h.used[image]
	if !used {
		return nil, nil
	}
	return &fakeFilesystem{h, filepath.Base(image), raw}, nil
}

type fakeFilesystem struct {
	host *fakeHost
	name string
	raw  bool
}

func (f *fakeFilesystem) Sync() error   { return f.host.happens("sync " + f.name) }
func (f *fakeFilesystem) Freeze() error { return f.host.happens("freeze " + f.name) }
func (f *fakeFilesystem) Thaw() error   { return f.host.happens("thaw " + f.name) }
func (f *fakeFilesystem) Close() error  { return nil }
func (f *fakeFilesystem) Raw() bool     { return f.raw }

func testDriver(t *testing.T) (*Driver, *fakeHost) {
	t.Helper()
	root := t.TempDir()
	h := &fakeHost{used: map[string]bool{}}
	d := newDriver("node", &Pool{id: "pool", root: root, lock: filepath.Join(root, "lock")}, h)
	if err := d.recover(); err != nil {
		t.Fatal(err)
	}
	return d, h
}

func capability(block bool) *csi.VolumeCapability {
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	if block {
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}
	}
	return c
}

func volumeRequest(name string, size int64) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*csi.VolumeCapability{capability(false)}, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
	}
}

func fromSnapshot(r *csi.CreateVolumeRequest, id string) *csi.CreateVolumeRequest {
	r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
	return r
}

func mustCreate(t *testing.T, d *Driver, r *csi.CreateVolumeRequest) *csi.Volume {
	t.Helper()
	reply, err := d.CreateVolume(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return reply.GetVolume()
}

func mustSnapshot(t *testing.T, d *Driver, name, source string) *csi.Snapshot {
	t.Helper()
	reply, err := d.CreateSnapshot(context.Background(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: source})
	if err != nil {
		t.Fatal(err)
	}
	return reply.GetSnapshot()
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("code %s, want %s: %v", got, want, err)
	}
}

func TestCreatingAVolumeTwiceGivesTheSameOne(t *testing.T) {
	d, _ := testDriver(t)
	first := mustCreate(t, d, volumeRequest("a", 64*mebibyte))
	again := mustCreate(t, d, volumeRequest("a", 64*mebibyte))
	if first.VolumeId != again.VolumeId {
		t.Fatalf("%s, then %s", first.VolumeId, again.VolumeId)
	}
	_, err := d.CreateVolume(context.Background(), volumeRequest("a", 128*mebibyte))
	wantCode(t, err, codes.AlreadyExists)
	block := volumeRequest("a", 64*mebibyte)
	block.VolumeCapabilities[0] = capability(true)
	_, err = d.CreateVolume(context.Background(), block)
	wantCode(t, err, codes.AlreadyExists)
	if info, err := os.Stat(d.state.volumeImage(first.VolumeId)); err != nil || info.Size() != 64*mebibyte {
		t.Fatalf("image: %v, %v", info, err)
	}
}

func TestStateSurvivesARestart(t *testing.T) {
	d, _ := testDriver(t)
	volume := mustCreate(t, d, volumeRequest("a", 64*mebibyte))
	snapshot := mustSnapshot(t, d, "s", volume.VolumeId)
	next := newDriver("node", d.pool, d.host)
	if err := next.recover(); err != nil {
		t.Fatal(err)
	}
	if again := mustCreate(t, next, volumeRequest("a", 64*mebibyte)); again.VolumeId != volume.VolumeId {
		t.Fatal("another volume")
	}
	if again := mustSnapshot(t, next, "s", volume.VolumeId); again.SnapshotId != snapshot.SnapshotId || !again.CreationTime.AsTime().Equal(snapshot.CreationTime.AsTime()) {
		t.Fatalf("another snapshot: %v, was %v", again, snapshot)
	}
}

func TestAStartSweepsWhatKilledCallsLeft(t *testing.T) {
	d, _ := testDriver(t)
	kept := mustCreate(t, d, volumeRequest("kept", 64*mebibyte))
	orphan := d.state.volumeImage(newID("vol"))
	partial := filepath.Join(d.state.groups.folder, "x.json.partial")
	member := &Snapshot{ID: newID("snap"), Source: kept.VolumeId, Group: newID("group")}
	for _, path := range []string{orphan, partial, d.state.snapshotImage(member.ID)} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.state.snapshots.save(member.ID, member); err != nil {
		t.Fatal(err)
	}
	if err := d.recover(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{orphan, partial, d.state.snapshotImage(member.ID), d.state.snapshots.path(member.ID)} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if _, err := os.Stat(d.state.volumeImage(kept.VolumeId)); err != nil {
		t.Error(err)
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		required, limit, source, want int64
		code                          codes.Code
	}{
		{want: defaultSize},
		{limit: 100 * mebibyte, want: 100 * mebibyte},
		{required: 1, want: minimumSize},
		{required: 20*mebibyte + 1, want: 21 * mebibyte},
		{required: 20*mebibyte + 1, limit: 20*mebibyte + 2, code: codes.OutOfRange},
		{required: 2, limit: 1, code: codes.InvalidArgument},
		{source: 50 * mebibyte, want: 50 * mebibyte},
		{required: 40 * mebibyte, source: 50 * mebibyte, code: codes.OutOfRange},
		{required: 60 * mebibyte, source: 50 * mebibyte, want: 60 * mebibyte},
		{limit: 40 * mebibyte, source: 50 * mebibyte, code: codes.OutOfRange},
	} {
		got, err := sizeFor(&csi.CapacityRange{RequiredBytes: c.required, LimitBytes: c.limit}, c.source)
		if status.Code(err) != c.code || err == nil && got != c.want {
			t.Errorf("%+v: got %d, %v", c, got, err)
		}
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	d, _ := testDriver(t)
	many := volumeRequest("many", 64*mebibyte)
	many.VolumeCapabilities[0].AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	xfs := volumeRequest("xfs", 64*mebibyte)
	xfs.VolumeCapabilities[0].GetMount().FsType = "xfs"
	misspelt := volumeRequest("misspelt", 64*mebibyte)
	misspelt.Parameters = map[string]string{"csi.storage.k8s.io/pvc/name": "fine", "fstyp": "ext4"}
	elsewhere := volumeRequest("elsewhere", 64*mebibyte)
	elsewhere.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{topologyKey: "other"}}}}
	for request, want := range map[*csi.CreateVolumeRequest]codes.Code{
		many: codes.InvalidArgument, xfs: codes.InvalidArgument, misspelt: codes.InvalidArgument, elsewhere: codes.ResourceExhausted,
		volumeRequest("huge", 1<<60):                          codes.ResourceExhausted,
		fromSnapshot(volumeRequest("gone", 0), newID("snap")): codes.NotFound,
		fromSnapshot(volumeRequest("path", 0), "../../etc"):   codes.NotFound,
	} {
		_, err := d.CreateVolume(context.Background(), request)
		if status.Code(err) != want {
			t.Errorf("%s: %v, want %s", request.Name, err, want)
		}
	}
	volumes, err := d.state.volumes.all()
	if err != nil || len(volumes) != 0 {
		t.Fatalf("left behind: %v, %v", volumes, err)
	}
}

func TestAVolumeInUseIsNotDeleted(t *testing.T) {
	d, h := testDriver(t)
	volume := mustCreate(t, d, volumeRequest("a", 64*mebibyte))
	h.used[d.state.volumeImage(volume.VolumeId)] = false
	_, err := d.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: volume.VolumeId})
	wantCode(t, err, codes.FailedPrecondition)
	delete(h.used, d.state.volumeImage(volume.VolumeId))
	for range 2 {
		if _, err := d.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: volume.VolumeId}); err != nil {
			t.Fatal(err)
		}
	}
}

// group makes two volumes in use and returns the names of their images in the order in which they are handled.
func group(t *testing.T, d *Driver, h *fakeHost) (ids []string, a, b string) {
	t.Helper()
	for _, name := range []string{"a", "b"} {
		volume := mustCreate(t, d, volumeRequest(name, 64*mebibyte))
		h.used[d.state.volumeImage(volume.VolumeId)] = false
		ids = append(ids, volume.VolumeId)
	}
	slices.Sort(ids)
	return ids, ids[0] + ".img", ids[1] + ".img"
}

func TestAGroupIsCutAtOneInstant(t *testing.T) {
	d, h := testDriver(t)
	ids, a, b := group(t, d, h)
	reply, err := d.CreateVolumeGroupSnapshot(context.Background(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"sync " + a, "sync " + b, "freeze " + a, "freeze " + b, "clone " + a, "clone " + b, "thaw " + a, "thaw " + b}
	if !slices.Equal(h.events, want) {
		t.Fatalf("order: %v", h.events)
	}
	made := reply.GetGroupSnapshot()
	if len(made.Snapshots) != 2 || !made.ReadyToUse {
		t.Fatalf("%v", made)
	}
	for _, s := range made.Snapshots {
		if !s.CreationTime.AsTime().Equal(made.CreationTime.AsTime()) || s.GroupSnapshotId != made.GroupSnapshotId {
			t.Errorf("member %v of %v", s, made)
		}
	}

	slices.Reverse(ids) // the order says nothing
	again, err := d.CreateVolumeGroupSnapshot(context.Background(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: ids})
	if err != nil || again.GetGroupSnapshot().GetGroupSnapshotId() != made.GroupSnapshotId || len(h.events) != len(want) {
		t.Fatalf("%v, %v", again, err)
	}
	_, err = d.CreateVolumeGroupSnapshot(context.Background(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: ids[:1]})
	wantCode(t, err, codes.AlreadyExists)
	_, err = d.DeleteSnapshot(context.Background(), &csi.DeleteSnapshotRequest{SnapshotId: made.Snapshots[0].SnapshotId})
	wantCode(t, err, codes.InvalidArgument)
	for range 2 {
		if _, err := d.DeleteVolumeGroupSnapshot(context.Background(), &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: made.GroupSnapshotId}); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := d.state.snapshots.all(); err != nil || len(left) != 0 {
		t.Fatalf("left: %v, %v", left, err)
	}
}

func TestEveryFailureThawsAndLeavesNothing(t *testing.T) {
	for _, step := range []string{"sync 1", "freeze 0", "freeze 1", "clone 0", "clone 1"} {
		t.Run(step, func(t *testing.T) {
			d, h := testDriver(t)
			ids, a, b := group(t, d, h)
			h.fail = strings.NewReplacer("0", a, "1", b).Replace(step)
			_, err := d.CreateVolumeGroupSnapshot(context.Background(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: ids})
			wantCode(t, err, codes.Internal)
			frozen := slices.ContainsFunc(h.events, func(e string) bool { return strings.HasPrefix(e, "freeze") })
			if frozen && (!slices.Contains(h.events, "thaw "+a) || !slices.Contains(h.events, "thaw "+b)) {
				t.Errorf("not thawed: %v", h.events)
			}
			images, err := filepath.Glob(filepath.Join(d.state.snapshots.folder, "*"))
			if err != nil || len(images) != 0 {
				t.Errorf("left: %v, %v", images, err)
			}
			if _, err := os.Stat(d.frozenFile()); err == nil {
				t.Error("frozen.json is still there")
			}
		})
	}
}

func TestASlowFreezeIsEndedAndItsSnapshotThrownAway(t *testing.T) {
	defer func(limit time.Duration) { freezeLimit = limit }(freezeLimit)
	freezeLimit = 20 * time.Millisecond
	d, h := testDriver(t)
	ids, a, b := group(t, d, h)
	h.slow = 100 * time.Millisecond
	_, err := d.CreateVolumeGroupSnapshot(context.Background(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: ids})
	wantCode(t, err, codes.Internal)
	if slices.Index(h.events, "thaw "+a) > slices.Index(h.events, "clone "+b) {
		t.Errorf("thawed too late: %v", h.events)
	}
	if left, err := d.state.snapshots.all(); err != nil || len(left) != 0 {
		t.Fatalf("left: %v, %v", left, err)
	}
}

func TestAStartThawsWhatAKilledDriverFroze(t *testing.T) {
	d, h := testDriver(t)
	ids, a, b := group(t, d, h)
	if err := d.rememberFrozen([]string{d.state.volumeImage(ids[0]), d.state.volumeImage(ids[1]), d.state.volumeImage(newID("vol"))}); err != nil {
		t.Fatal(err)
	}
	if err := newDriver("node", d.pool, h).recover(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(h.events, []string{"thaw " + a, "thaw " + b}) {
		t.Fatalf("%v", h.events)
	}
	if _, err := os.Stat(d.frozenFile()); err == nil {
		t.Error("frozen.json is still there")
	}
}

func TestAGroupOfRawVolumesInUseIsRefused(t *testing.T) {
	d, h := testDriver(t)
	ids, _, _ := group(t, d, h)
	for image := range h.used {
		h.used[image] = true
	}
	_, err := d.CreateVolumeGroupSnapshot(context.Background(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: ids})
	wantCode(t, err, codes.FailedPrecondition)
}

func TestFaultsOfSnapshotClasses(t *testing.T) {
	d, _ := testDriver(t)
	volume := mustCreate(t, d, volumeRequest("a", 64*mebibyte))
	request := func(fault string) *csi.CreateSnapshotRequest {
		return &csi.CreateSnapshotRequest{Name: "s-" + fault, SourceVolumeId: volume.VolumeId, Parameters: map[string]string{"fault": fault}}
	}
	_, err := d.CreateSnapshot(context.Background(), request("fail"))
	wantCode(t, err, codes.Internal)
	_, err = d.CreateSnapshot(context.Background(), request("exhausted"))
	wantCode(t, err, codes.ResourceExhausted)
	_, err = d.CreateSnapshot(context.Background(), request("typo"))
	wantCode(t, err, codes.InvalidArgument)
	reply, err := d.CreateSnapshot(context.Background(), request("never-ready"))
	if err != nil || reply.GetSnapshot().GetReadyToUse() {
		t.Fatalf("%v, %v", reply, err)
	}
	_, err = d.CreateVolume(context.Background(), fromSnapshot(volumeRequest("c", 0), reply.GetSnapshot().GetSnapshotId()))
	wantCode(t, err, codes.Unavailable)
}

func TestExpansionGrowsOnly(t *testing.T) {
	d, _ := testDriver(t)
	volume := mustCreate(t, d, volumeRequest("a", 64*mebibyte))
	for _, c := range []struct{ required, want int64 }{{128, 128}, {128, 128}, {64, 128}} {
		reply, err := d.ControllerExpandVolume(context.Background(), &csi.ControllerExpandVolumeRequest{
			VolumeId: volume.VolumeId, CapacityRange: &csi.CapacityRange{RequiredBytes: c.required * mebibyte}})
		if err != nil || reply.GetCapacityBytes() != c.want*mebibyte || !reply.GetNodeExpansionRequired() {
			t.Fatalf("%+v: %v, %v", c, reply, err)
		}
	}
	if info, err := os.Stat(d.state.volumeImage(volume.VolumeId)); err != nil || info.Size() != 128*mebibyte {
		t.Fatalf("image: %v, %v", info, err)
	}
}

func TestPagesSurviveDeletions(t *testing.T) {
	d, _ := testDriver(t)
	for i := range 5 {
		mustCreate(t, d, volumeRequest(fmt.Sprint(i), 64*mebibyte))
	}
	seen := map[string]bool{}
	token := ""
	for {
		reply, err := d.ListVolumes(context.Background(), &csi.ListVolumesRequest{MaxEntries: 2, StartingToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range reply.Entries {
			if seen[entry.Volume.VolumeId] {
				t.Fatal("seen twice")
			}
			seen[entry.Volume.VolumeId] = true
		}
		if token = reply.NextToken; token == "" {
			break
		}
		if _, err := d.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: token}); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 5 {
		t.Fatalf("saw %d of 5", len(seen))
	}
	_, err := d.ListVolumes(context.Background(), &csi.ListVolumesRequest{StartingToken: "1"})
	wantCode(t, err, codes.Aborted)
}

func TestMountinfo(t *testing.T) {
	found, err := parseMounts("36 35 7:3 / /var/lib/a\\040b rw,relatime shared:1 - ext4 /dev/loop3 rw\n" +
		"37 35 0:5 /loop4 /var/lib/kubelet/dev ro,nosuid - devtmpfs dev rw\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []mount{{loopNumber(3), "/", "/var/lib/a b", false}, {5, "/loop4", "/var/lib/kubelet/dev", true}}
	if !slices.Equal(found, want) {
		t.Fatalf("%+v", found)
	}
}
