// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// host is what snapshots need of the machine; unit tests have their own.
type host interface {
	// Clone makes a copy that shares its blocks with the source.
	Clone(source, target string) error
	// InUse also lets go what only a dead node still holds.
	InUse(image string) (bool, error)
	// Filesystem opens what must be frozen before the image is copied: nil if the image is not in use.
	Filesystem(image string) (filesystem, error)
}

type filesystem interface {
	Sync() error
	Freeze() error
	Thaw() error // no error if it was not frozen
	Close() error
	// Raw says that there is nothing to freeze: a block volume in use.
	Raw() bool
}

type linux struct{}

func (linux) Clone(source, target string) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(target, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(unix.IoctlFileClone(int(to.Fd()), int(from.Fd())), to.Close())
	if err != nil {
		_ = os.Remove(target)
		return fmt.Errorf("reflink %s: %w", source, err)
	}
	return nil
}

func (linux) InUse(image string) (bool, error) {
	for try := 0; ; try++ {
		device, err := attached(image)
		if err != nil || device == nil {
			return false, err
		}
		if err := device.Close(); err != nil || try > 0 || !detachDead() {
			return true, err
		}
	}
}

const freezeFolder = "muster-csi-freeze-"

func (linux) Filesystem(image string) (filesystem, error) {
	device, err := attached(image)
	if err != nil || device == nil {
		return nil, err
	}
	if !device.mounted() {
		return rawDevice{device}, nil
	}
	// Mounting the device once more reaches its file system wherever it is mounted, on another node of this machine too.
	folder, err := os.MkdirTemp("", freezeFolder)
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	err = unix.Mount(device.path, folder, "ext4", 0, "")
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EACCES) {
		err = unix.Mount(device.path, folder, "ext4", unix.MS_RDONLY, "")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s to freeze it: %w", device.path, err), os.Remove(folder), device.Close())
	}
	root, err := os.Open(folder)
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(folder, unix.MNT_DETACH), os.Remove(folder), device.Close())
	}
	return &mountedFilesystem{device: device, folder: folder, root: root}, nil
}

// rawDevice is a block volume in use: what was written before counts, as with any disk.
type rawDevice struct{ *loopDevice }

func (r rawDevice) Sync() error   { return r.file.Sync() }
func (r rawDevice) Freeze() error { return r.file.Sync() }
func (rawDevice) Thaw() error     { return nil }
func (rawDevice) Raw() bool       { return true }

type mountedFilesystem struct {
	device *loopDevice
	folder string
	root   *os.File
}

const (
	ioctlFreeze = 0xC0045877 // FIFREEZE
	ioctlThaw   = 0xC0045878 // FITHAW
)

func (m *mountedFilesystem) Sync() error   { return unix.Syncfs(int(m.root.Fd())) }
func (m *mountedFilesystem) Freeze() error { return unix.IoctlSetInt(int(m.root.Fd()), ioctlFreeze, 0) }
func (m *mountedFilesystem) Raw() bool     { return false }

func (m *mountedFilesystem) Thaw() error {
	err := unix.IoctlSetInt(int(m.root.Fd()), ioctlThaw, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

func (m *mountedFilesystem) Close() error {
	return errors.Join(m.root.Close(), unix.Unmount(m.folder, 0), os.Remove(m.folder), m.device.Close())
}

// run ends with what the command said, which is where the reason is.
func run(command ...string) error {
	output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, bytes.TrimSpace(output))
	}
	return nil
}

// A mount is one line of mountinfo.
type mount struct {
	device uint64 // of the mounted file system
	root   string // the part of it that is mounted: "/" or, for a bind-mounted file, its path
	path   string
	ro     bool
}

func mounts() ([]mount, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data))
}

func parseMounts(text string) ([]mount, error) {
	var found []mount
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		major, minor, _ := strings.Cut(fields[2], ":")
		high, err1 := strconv.ParseUint(major, 10, 32)
		low, err2 := strconv.ParseUint(minor, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("mountinfo %q: %w", line, err)
		}
		options := "," + fields[5] + ","
		found = append(found, mount{
			device: unix.Mkdev(uint32(high), uint32(low)), root: unescape(fields[3]), path: unescape(fields[4]),
			ro: strings.Contains(options, ",ro,"),
		})
	}
	return found, nil
}

// unescape undoes mountinfo's octal escapes of blanks and backslashes.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// mountAt returns the topmost mount at a path, nil if there is none.
func mountAt(path string) (*mount, error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	path = filepath.Clean(path)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].path == path {
			return &all[i], nil
		}
	}
	return nil, nil
}

// mountedFrom returns the device number of the file system mounted at a path, 0 if none is.
func mountedFrom(path string) (uint64, error) {
	found, err := mountAt(path)
	if err != nil || found == nil {
		return 0, err
	}
	return found.device, nil
}

// unmountAll takes away every mount at a path; none there is fine.
func unmountAll(path string) error {
	for {
		found, err := mountAt(path)
		if err != nil || found == nil {
			return err
		}
		if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
