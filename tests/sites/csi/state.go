// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Volume is an image file and this record beside it. The record is written last and removed first:
// an image without a record is the remains of a killed call.
type Volume struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Size    int64     `json:"size"`
	Block   bool      `json:"block"`  // raw, no file system of ours
	Source  string    `json:"source"` // snapshot or volume it was cloned from
	Created time.Time `json:"created"`
	// Formatted says that the image has an ext4 of ours. Only an image that never had one is formatted, so nothing is ever overwritten.
	Formatted bool `json:"formatted"`
}

type Snapshot struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Source    string    `json:"source"`
	Size      int64     `json:"size"`
	Block     bool      `json:"block"`
	Formatted bool      `json:"formatted"`
	Created   time.Time `json:"created"` // the instant of the cut
	Group     string    `json:"group,omitempty"`
	// NeverReady is the fault of that name, asked for by the snapshot class.
	NeverReady bool `json:"neverReady,omitempty"`
}

type Group struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Sources   []string  `json:"sources"`
	Snapshots []string  `json:"snapshots"`
	Created   time.Time `json:"created"`
}

// IDs become file names and come back from anyone who writes a PersistentVolume or a VolumeSnapshotContent.
var wellFormed = regexp.MustCompile(`^(vol|snap|group)-[0-9a-f]{32}$`)

func newID(kind string) string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process instead
	return kind + "-" + hex.EncodeToString(random[:])
}

// records is one folder of JSON files, one per object. Each read goes to the files: two drivers may share a pool.
type records[T any] struct{ folder string }

func (r records[T]) path(id string) string { return filepath.Join(r.folder, id+".json") }

// get returns nil for an object that does not exist.
func (r records[T]) get(id string) (*T, error) {
	if !wellFormed.MatchString(id) {
		return nil, nil
	}
	data, err := os.ReadFile(r.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	record := new(T)
	return record, json.Unmarshal(data, record)
}

// all returns every object, in the order of their IDs.
func (r records[T]) all() ([]*T, error) {
	entries, err := os.ReadDir(r.folder)
	if err != nil {
		return nil, err
	}
	var found []*T
	for _, entry := range entries {
		id, isRecord := strings.CutSuffix(entry.Name(), ".json")
		if !isRecord {
			continue
		}
		record, err := r.get(id)
		if err != nil {
			return nil, err
		}
		if record != nil {
			found = append(found, record)
		}
	}
	return found, nil
}

func (r records[T]) first(matches func(*T) bool) (*T, error) {
	all, err := r.all()
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, matches); i >= 0 {
		return all[i], nil
	}
	return nil, nil
}

func (r records[T]) save(id string, record *T) error {
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(r.path(id), data)
}

func (r records[T]) remove(id string) error {
	if err := os.Remove(r.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeWhole replaces a file so that a reader, also one after a power cut, sees the old or the new text.
func writeWhole(path string, data []byte) error {
	partial := path + ".partial"
	file, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		_ = os.Remove(partial)
	}
	return err
}

// state is the pool's content: folders volumes, snapshots (images and records) and groups (records).
type state struct {
	root      string
	volumes   records[Volume]
	snapshots records[Snapshot]
	groups    records[Group]
}

func openState(root string) (*state, error) {
	s := &state{
		root:      root,
		volumes:   records[Volume]{filepath.Join(root, "volumes")},
		snapshots: records[Snapshot]{filepath.Join(root, "snapshots")},
		groups:    records[Group]{filepath.Join(root, "groups")},
	}
	for _, folder := range []string{s.volumes.folder, s.snapshots.folder, s.groups.folder} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *state) volumeImage(id string) string   { return filepath.Join(s.volumes.folder, id+".img") }
func (s *state) snapshotImage(id string) string { return filepath.Join(s.snapshots.folder, id+".img") }

// sweep removes what killed calls left: half-written files, members of a group that was never completed, images without a record.
func (s *state) sweep() error {
	snapshots, err := s.snapshots.all()
	if err != nil {
		return err
	}
	for _, snapshot := range snapshots {
		if snapshot.Group == "" {
			continue
		}
		if group, err := s.groups.get(snapshot.Group); err != nil {
			return err
		} else if group == nil {
			if err := s.snapshots.remove(snapshot.ID); err != nil {
				return err
			}
		}
	}
	for _, folder := range []string{s.volumes.folder, s.snapshots.folder, s.groups.folder} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			path := filepath.Join(folder, entry.Name())
			id, isImage := strings.CutSuffix(path, ".img")
			_, missing := os.Stat(id + ".json")
			if strings.HasSuffix(path, ".partial") || isImage && errors.Is(missing, fs.ErrNotExist) {
				if err := os.Remove(path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// provisioned is the sum of the volumes' sizes; snapshots share their blocks and are not counted.
func (s *state) provisioned() (int64, error) {
	volumes, err := s.volumes.all()
	total := int64(0)
	for _, volume := range volumes {
		total += volume.Size
	}
	return total, err
}

// page cuts one page out of a list sorted by ID. A token is the ID of the last object given out,
// so that objects deleted between two pages do not shift the rest.
func page[T any](all []*T, id func(*T) string, token string, limit int32) (entries []*T, next string) {
	start := 0
	if token != "" {
		start, _ = slices.BinarySearchFunc(all, token, func(record *T, token string) int { return strings.Compare(id(record), token) })
		if start < len(all) && id(all[start]) == token {
			start++
		}
	}
	end := len(all)
	if limit > 0 && int(limit) < end-start {
		end = start + int(limit)
		next = id(all[end-1])
	}
	return all[start:end], next
}
