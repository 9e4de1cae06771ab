// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"log"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// topologyKey tells pools apart, not nodes: nodes of one machine that share a pool can all use its volumes.
const topologyKey = "topology." + driverName + "/pool"

// A Driver is one process on one node; it serves the node's volumes and, if its sidecars lead, the controller's calls.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedGroupControllerServer
	csi.UnimplementedNodeServer

	node  string
	pool  *Pool
	state *state
	host  host
	busy  keyedMutex

	mutex sync.Mutex
	held  map[string]*loopDevice // block volumes staged here, by ID: no mount keeps their devices attached
}

func newDriver(node string, pool *Pool, host host) *Driver {
	return &Driver{node: node, pool: pool, host: host, held: map[string]*loopDevice{}}
}

// recover brings the pool to order after a crash: thaw, sweep, take hold of the block volumes that pods here use.
func (d *Driver) recover() error {
	unlock, err := d.pool.exclusive()
	if err != nil {
		return err
	}
	defer unlock()
	if d.state, err = openState(d.pool.root); err != nil {
		return err
	}
	if err := errors.Join(d.thawAfterCrash(), d.state.sweep()); err != nil {
		return err
	}
	return d.holdPublished()
}

func (d *Driver) holdPublished() error {
	all, err := mounts()
	if err != nil {
		return err
	}
	published := map[uint64]bool{}
	for _, number := range publishedLoops(all) {
		published[loopNumber(number)] = true
	}
	if len(published) == 0 {
		return nil
	}
	volumes, err := d.state.volumes.all()
	if err != nil {
		return err
	}
	for _, volume := range volumes {
		if !volume.Block {
			continue
		}
		device, err := attached(d.state.volumeImage(volume.ID))
		if err != nil || device == nil {
			continue
		}
		if published[device.number] {
			d.hold(volume.ID, device)
			log.Printf("holding %s for block volume %s", device.path, volume.ID)
		} else {
			_ = device.Close()
		}
	}
	return nil
}

func (d *Driver) hold(id string, device *loopDevice) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if _, already := d.held[id]; already {
		_ = device.Close()
		return
	}
	d.held[id] = device
}

func (d *Driver) release(id string) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	device := d.held[id]
	delete(d.held, id)
	if device == nil {
		return nil
	}
	return device.Close()
}

// keyedMutex keeps two calls for the same volume apart, which the kubelet may send after a timeout.
type keyedMutex struct {
	mutex sync.Mutex
	locks map[string]*sync.Mutex
}

func (k *keyedMutex) lock(key string) (unlock func()) {
	k.mutex.Lock()
	if k.locks == nil {
		k.locks = map[string]*sync.Mutex{}
	}
	lock := k.locks[key]
	if lock == nil {
		lock = &sync.Mutex{}
		k.locks[key] = lock
	}
	k.mutex.Unlock()
	lock.Lock()
	return lock.Unlock
}

func (d *Driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: version, Manifest: map[string]string{"purpose": "test driver"}}, nil
}

func (d *Driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	reply := &csi.GetPluginCapabilitiesResponse{}
	for _, service := range []csi.PluginCapability_Service_Type{
		csi.PluginCapability_Service_CONTROLLER_SERVICE,
		csi.PluginCapability_Service_GROUP_CONTROLLER_SERVICE,
		csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS,
	} {
		reply.Capabilities = append(reply.Capabilities, &csi.PluginCapability{
			Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: service}},
		})
	}
	reply.Capabilities = append(reply.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_VolumeExpansion_{
		VolumeExpansion: &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE},
	}})
	return reply, nil
}

func (d *Driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}
