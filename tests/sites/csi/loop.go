// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	loopMajor  = 7
	sectorSize = 4096 // of volumes
)

func loopNumber(number int) uint64 { return unix.Mkdev(loopMajor, uint32(number)) }

// A loopDevice is open: that keeps it attached. Devices detach by themselves when the last user is gone (autoclear),
// so a killed node leaves none behind.
type loopDevice struct {
	file   *os.File
	path   string
	number uint64 // device number
	ro     bool
}

func (l *loopDevice) Close() error { return l.file.Close() }

// mounted is about ext4 only, in any mount namespace: the kernel lists its file systems by device.
func (l *loopDevice) mounted() bool {
	_, err := os.Stat("/sys/fs/ext4/" + filepath.Base(l.path))
	return err == nil
}

// adopt takes over the new size of the image.
func (l *loopDevice) adopt() error {
	return unix.IoctlSetInt(int(l.file.Fd()), unix.LOOP_SET_CAPACITY, 0)
}

// makeLoopNodes is for nodes in containers: their /dev has the devices there were when they started.
func makeLoopNodes(count int) error {
	for number := range count {
		if _, err := loopNode(number); err != nil {
			return err
		}
	}
	return nil
}

func loopNode(number int) (string, error) {
	path := fmt.Sprintf("/dev/loop%d", number)
	err := unix.Mknod(path, unix.S_IFBLK|0o660, int(loopNumber(number)))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return "", fmt.Errorf("mknod %s: %w", path, err)
	}
	return path, nil
}

// attached finds the loop device of an image by device and inode number, which, unlike the path, mean the same in all namespaces.
// It returns nil if there is none.
func attached(image string) (*loopDevice, error) {
	var wanted unix.Stat_t
	if err := unix.Stat(image, &wanted); err != nil {
		return nil, fmt.Errorf("stat %s: %w", image, err)
	}
	bound, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return nil, err
	}
	for _, folder := range bound {
		var number int
		if _, err := fmt.Sscanf(filepath.Base(filepath.Dir(folder)), "loop%d", &number); err != nil {
			continue
		}
		device, info, err := openLoop(number)
		if err != nil {
			continue // detached meanwhile
		}
		if info.Device == wanted.Dev && info.Inode == wanted.Ino {
			return device, nil
		}
		_ = device.Close()
	}
	return nil, nil
}

func openLoop(number int) (*loopDevice, *unix.LoopInfo64, error) {
	path, err := loopNode(number)
	if err != nil {
		return nil, nil, err
	}
	file, err := os.Open(path) // reading is enough for every ioctl here, and a writer's close would wake udev
	if err != nil {
		return nil, nil, err
	}
	info, err := unix.IoctlLoopGetStatus64(int(file.Fd()))
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	device := &loopDevice{file: file, path: path, number: loopNumber(number), ro: info.Flags&unix.LO_FLAGS_READ_ONLY != 0}
	return device, info, nil
}

// attach returns the image's loop device, a new one if it has none. Callers hold the pool's lock: one image, one device,
// for two would be two caches over the same blocks.
func attach(image string, readonly, direct bool) (*loopDevice, error) {
	device, err := attached(image)
	if err != nil {
		return nil, err
	}
	if device != nil {
		if device.ro && !readonly {
			return nil, errors.Join(fmt.Errorf("%s is attached read-only at %s and in use", image, device.path), device.Close())
		}
		return device, device.adopt()
	}

	mode := os.O_RDWR
	if readonly {
		mode = os.O_RDONLY
	}
	backing, err := os.OpenFile(image, mode, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()

	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: 512}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if direct {
		// The pool's file system need not cache what the volume's file system caches already. The sector size is that of direct
		// writes to reflinked files: left to the kernel, a clone would have larger sectors than its source, and not mount.
		config.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
		config.Size = sectorSize
	}
	if readonly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], fileNamePrefix+filepath.Base(image))
	for try := 0; ; try++ {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		path, err := loopNode(number)
		if err != nil {
			return nil, err
		}
		file, err := os.OpenFile(path, mode, 0)
		if err == nil {
			if err = unix.IoctlLoopConfigure(int(file.Fd()), &config); err == nil {
				return &loopDevice{file: file, path: path, number: loopNumber(number), ro: readonly}, nil
			}
			_ = file.Close()
		}
		// Someone else on the machine took it, or is just letting it go.
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) || try == 50 {
			return nil, fmt.Errorf("attach %s to %s: %w", image, path, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// detachDead takes off the loop devices that the kubelets of killed nodes left on volumes of this driver. A kubelet keeps one on each raw
// volume that it publishes; those do not detach by themselves, and would hold the volume and its pool for ever.
func detachDead() (any bool) {
	bound, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return false
	}
	for _, path := range bound {
		// The root of a mount that is mounted nowhere any more: the node's mounts are gone. A living kubelet's path is a long one.
		backing, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(backing)) != "/" {
			continue
		}
		var number int
		if _, err := fmt.Sscanf(path, "/sys/block/loop%d/", &number); err != nil {
			continue
		}
		holder, info, err := openLoop(number)
		if err != nil {
			continue
		}
		if unix.Major(info.Rdevice) == loopMajor && isOurs(int(unix.Minor(info.Rdevice))) {
			if err := unix.IoctlSetInt(int(holder.file.Fd()), unix.LOOP_CLR_FD, 0); err == nil {
				log.Printf("detached %s, left by the kubelet of a killed node", holder.path)
				any = true
			}
		}
		_ = holder.Close()
	}
	return any
}

func isOurs(number int) bool {
	device, info, err := openLoop(number)
	if err != nil {
		return false
	}
	_ = device.Close()
	return strings.HasPrefix(unix.ByteSliceToString(info.File_name[:]), fileNamePrefix)
}

const fileNamePrefix = "muster-csi/" // of what a loop device is told its file is called

var loopFile = regexp.MustCompile(`/loop(\d+)$`)

// publishedLoops lists the loop devices whose files are bind-mounted on this node: block volumes in use.
func publishedLoops(all []mount) []int {
	var numbers []int
	for _, m := range all {
		match := loopFile.FindStringSubmatch(m.root)
		if match == nil {
			continue
		}
		number, err := strconv.Atoi(match[1])
		if err == nil && isDevice(m.path, loopNumber(number)) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// isDevice says whether a path is the file of this block device.
func isDevice(path string, number uint64) bool {
	var found unix.Stat_t
	return unix.Stat(path, &found) == nil && found.Mode&unix.S_IFMT == unix.S_IFBLK && found.Rdev == number
}
