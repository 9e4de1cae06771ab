// Command csi-driver is a TEST DRIVER: the storage of Muster's test bed, made of files and loop devices of one machine.
// It behaves like block storage (real sizes, crash-consistent clones, group snapshots) and keeps nothing safe.
//
// SPDX-License-Identifier: GPL-3.0-or-later
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const driverName = "csi.bed.muster.dev"

// version is set with -ldflags "-X main.version=…".
var version = "dev"

func main() {
	fmt.Printf("%s %s is a TEST DRIVER for Muster's test bed: never keep data on it that you want to see again.\n", driverName, version)
	log.SetFlags(log.LstdFlags | log.Lmicroseconds | log.LUTC)

	var (
		base         = flag.String("base", "/var/lib/muster-csi", "folder that outlives the driver: the pool's image and its lock. Nodes of one machine that share it share the pool")
		mountpoint   = flag.String("pool", "/run/muster-csi/pool", "where the pool is mounted, seen by the driver alone")
		size         = flag.Int64("pool-gib", 256, "size of a new pool in GiB; its image is sparse")
		node         = flag.String("node", os.Getenv("NODE_NAME"), "name of this node")
		endpoint     = flag.String("endpoint", "/csi/csi.sock", "CSI socket to serve")
		kubeletPath  = flag.String("kubelet-endpoint", "", "path of the CSI socket as the kubelet sees it; empty: --endpoint")
		registration = flag.String("registration", "", "folder where the kubelet looks for registration sockets; empty: do not register")
		loopNodes    = flag.Int("loop-nodes", 0, "make the device files /dev/loop0 to /dev/loopN-1 at start; a node in a container has but a few")
	)
	flag.Parse()
	if *node == "" {
		log.Fatal("Could not start: no node name. Pass --node or set NODE_NAME.")
	}

	if err := makeLoopNodes(*loopNodes); err != nil {
		log.Fatalf("Could not make the loop devices' files: %v", err)
	}
	detachDead()
	pool, err := openPool(*base, *mountpoint, *size<<30)
	if err != nil {
		log.Fatalf("Could not open the pool in %s: %v", *base, err)
	}
	driver := newDriver(*node, pool, linux{})
	if err := driver.recover(); err != nil {
		log.Fatalf("Could not recover what the previous driver left: %v", err)
	}

	server, err := serve(*endpoint, driver)
	if err != nil {
		log.Fatalf("Could not serve CSI on %s: %v", *endpoint, err)
	}
	if *registration != "" {
		if *kubeletPath == "" {
			*kubeletPath = *endpoint
		}
		socket := filepath.Join(*registration, driverName+"-reg.sock")
		if err := register(socket, *kubeletPath); err != nil {
			log.Fatalf("Could not offer registration on %s: %v", socket, err)
		}
		defer os.Remove(socket)
	}
	log.Printf("ready: node %s, pool %s, CSI on %s", *node, pool.id, *endpoint)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	// Volumes stay mounted: pods go on while the driver is replaced. Lazily, because their loop devices use the pool.
	server.GracefulStop()
	_ = syscall.Unmount(*mountpoint, syscall.MNT_DETACH)
}
