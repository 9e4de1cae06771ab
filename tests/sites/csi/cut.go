// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// freezeLimit ends a freeze whose reflinks do not come to an end: an application must never hang on its backup.
var freezeLimit = 20 * time.Second

type imageCopy struct{ from, to string }

// cut copies images as they are at one instant: flush all, freeze all, reflink all, thaw all. It returns that instant.
// A thaw happens on every way out: by the deferred call, after freezeLimit, or, when the driver is killed, at its next start.
func (d *Driver) cut(copies []imageCopy) (instant time.Time, err error) {
	var (
		open  []filesystem
		names []string
		raw   int
	)
	defer func() {
		for _, f := range open {
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			for _, c := range copies {
				_ = os.Remove(c.to)
			}
		}
	}()
	for _, c := range copies {
		f, err := d.host.Filesystem(c.from)
		if err != nil {
			return instant, err
		}
		if f == nil {
			continue
		}
		open = append(open, f)
		names = append(names, c.from)
		if f.Raw() {
			raw++
		}
		// Most of the data is written out here, while the application still works.
		if err := f.Sync(); err != nil {
			return instant, fmt.Errorf("flush %s: %w", c.from, err)
		}
	}
	if raw > 1 {
		return instant, errManyRaw
	}

	var thawing sync.Once
	var thawed error
	thaw := func() {
		thawing.Do(func() {
			for _, f := range open {
				thawed = errors.Join(thawed, f.Thaw())
			}
			if thawed == nil {
				thawed = d.forgetFrozen()
			}
		})
	}
	if err := d.rememberFrozen(names); err != nil {
		return instant, err
	}
	defer func() {
		thaw()
		err = errors.Join(err, thawed)
	}()
	watchdog := time.AfterFunc(freezeLimit, thaw)

	for i, f := range open {
		if err := f.Freeze(); err != nil {
			return instant, fmt.Errorf("freeze %s: %w", names[i], err)
		}
	}
	instant = time.Now().UTC()
	for _, c := range copies {
		if err := d.host.Clone(c.from, c.to); err != nil {
			return instant, err
		}
	}
	if !watchdog.Stop() {
		return instant, fmt.Errorf("the copies took longer than %s, the volumes were thawed before the last one was made", freezeLimit)
	}
	if len(open) > 0 {
		log.Printf("froze %d of %d volumes for %s", len(open)-raw, len(copies), time.Since(instant).Round(time.Microsecond))
	}
	return instant, nil
}

var errManyRaw = errors.New("several block volumes of the group are in use: raw devices cannot be frozen, so no one instant can be promised")

func (d *Driver) frozenFile() string { return filepath.Join(d.state.root, "frozen.json") }

func (d *Driver) rememberFrozen(images []string) error {
	if len(images) == 0 {
		return nil
	}
	data, err := json.Marshal(images)
	if err != nil {
		return err
	}
	return os.WriteFile(d.frozenFile(), data, 0o600) // no fsync: no freeze outlives the kernel either
}

func (d *Driver) forgetFrozen() error {
	if err := os.Remove(d.frozenFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// thawAfterCrash undoes the freeze of a driver that was killed in cut. Whoever holds the pool's lock knows that nobody is in there.
func (d *Driver) thawAfterCrash() error {
	data, err := os.ReadFile(d.frozenFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var images []string
	if err := json.Unmarshal(data, &images); err != nil {
		log.Printf("ignoring %s, cut off while it was written, before any freeze: %v", d.frozenFile(), err)
	}
	for _, image := range images {
		f, err := d.host.Filesystem(image)
		if errors.Is(err, fs.ErrNotExist) || err == nil && f == nil {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(f.Thaw(), f.Close()); err != nil {
			return fmt.Errorf("thaw %s: %w", image, err)
		}
		log.Printf("thawed %s, left frozen by a killed driver", image)
	}
	return d.forgetFrozen()
}
