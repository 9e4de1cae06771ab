// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ext4Size reads a file system's size from its superblock.
func ext4Size(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var superblock [1024]byte
	if _, err := file.ReadAt(superblock[:], 1024); err != nil {
		return 0, err
	}
	number := func(offset int) int64 { return int64(binary.LittleEndian.Uint32(superblock[offset:])) }
	if binary.LittleEndian.Uint16(superblock[0x38:]) != 0xEF53 {
		return 0, fmt.Errorf("%s has no ext4", path)
	}
	blocks := number(0x4)
	if const64bit := int64(0x80); number(0x60)&const64bit != 0 {
		blocks |= number(0x150) << 32
	}
	return blocks << (10 + number(0x18)), nil
}

// isSmaller forgives a few MiB: ext4 leaves a last group unused that is too small for its own tables.
func isSmaller(device *loopDevice, volume *Volume) (bool, error) {
	size, err := ext4Size(device.path)
	return size <= volume.Size-4*mebibyte, err
}

// growUnmounted is the way that needs no more than root. A read-only device cannot grow; its file system is served as it is.
func growUnmounted(device *loopDevice, volume *Volume) error {
	smaller, err := isSmaller(device, volume)
	if err != nil || !smaller || device.ro || device.mounted() {
		return err
	}
	// resize2fs insists on a check. Exit code 1: errors were corrected, which here is the replay of a journal.
	var exit interface{ ExitCode() int }
	if err := run("e2fsck", "-f", "-p", device.path); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		return err
	}
	return run("resize2fs", device.path)
}

// growMounted needs CAP_SYS_RESOURCE, which some machines do not give to root. There the volume grows when it is staged next:
// FailedPrecondition is how CSI says that, and the kubelet tries again then.
func growMounted(device *loopDevice, volume *Volume) error {
	smaller, err := isSmaller(device, volume)
	if err != nil || !smaller {
		return err
	}
	err = run("resize2fs", device.path)
	if err != nil && strings.Contains(err.Error(), "Permission denied") {
		return status.Errorf(codes.FailedPrecondition,
			"volume %s is in use and this machine lets nobody grow a mounted ext4 (no CAP_SYS_RESOURCE): it grows when its pods are started anew", volume.ID)
	}
	return err
}
