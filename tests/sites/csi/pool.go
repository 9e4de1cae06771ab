// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Pool is a file system with reflinks in one sparse file. It is mounted for the driver only; volumes' loop devices keep it alive
// while the driver is away, and a driver that comes back joins it: the same block device means the same file system.
type Pool struct {
	id   string // topology value: nodes that share the pool show the same
	root string
	lock string
}

func openPool(base, root string, size int64) (*Pool, error) {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	pool := &Pool{root: root, lock: filepath.Join(base, "lock")}
	unlock, err := pool.exclusive()
	if err != nil {
		return nil, err
	}
	defer unlock()

	identity := filepath.Join(base, "id")
	data, err := os.ReadFile(identity)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(newID("vol")[len("vol-"):])
		err = writeWhole(identity, data)
	}
	if err != nil {
		return nil, err
	}
	pool.id = strings.TrimSpace(string(data))

	image := filepath.Join(base, "pool.img")
	if _, err := os.Stat(image); errors.Is(err, fs.ErrNotExist) {
		if err := makePool(image, root, size); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return pool, mountPool(image, root)
}

// makePool tries the file systems with reflinks in turn: which ones a kernel has is known only by mounting them.
func makePool(image, root string, size int64) error {
	partial := image + ".partial"
	var failures []error
	for _, mkfs := range [][]string{
		{"mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1", partial},
		{"mkfs.btrfs", "-q", "-f", "-K", "-m", "single", partial},
	} {
		_ = os.Remove(partial)
		file, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
			return err
		}
		if err = run(mkfs...); err == nil {
			if err = mountPool(partial, root); err == nil {
				err = unix.Unmount(root, 0)
			}
		}
		if err == nil {
			log.Printf("made a pool of %d GiB with %s", size>>30, mkfs[0])
			return os.Rename(partial, image)
		}
		failures = append(failures, err)
	}
	_ = os.Remove(partial)
	return errors.Join(failures...)
}

func mountPool(image, root string) error {
	var err error
	// A pool that another driver has just let go may be on its way out: its loop device is found, then gone.
	for try := 0; try < 20; try++ {
		var device *loopDevice
		if device, err = attach(image, false, false); err == nil {
			mounted, e := mountedFrom(root)
			if e == nil && mounted == device.number {
				return device.Close()
			}
			// discard gives the blocks of deleted volumes back to the machine.
			err = errors.Join(e, run("mount", "-o", "noatime,discard", device.path, root), device.Close())
			if err == nil {
				return nil
			}
		}
		time.Sleep(250 * time.Millisecond)
	}
	return err
}

// exclusive is held while records or loop devices change. A file lock, not a mutex: drivers on two nodes may share the pool,
// and the lock of a killed driver is gone with it.
func (p *Pool) exclusive() (unlock func(), err error) {
	file, err := os.OpenFile(p.lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", p.lock, err), file.Close())
		}
	}
}

// capacity is what new volumes may still ask for. Images are sparse, but nobody is promised more than the pool's size.
func (p *Pool) capacity(s *state) (int64, error) {
	var statistics unix.Statfs_t
	if err := unix.Statfs(p.root, &statistics); err != nil {
		return 0, err
	}
	used, err := s.provisioned()
	return max(0, int64(statistics.Blocks)*statistics.Bsize-used), err
}
