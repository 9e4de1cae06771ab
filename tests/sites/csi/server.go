// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// listen replaces a socket that a killed process left behind.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

func serve(path string, d *Driver) (*grpc.Server, error) {
	listener, err := listen(path)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(answer))
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterGroupControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatalf("The CSI server ended: %v", err)
		}
	}()
	return server, nil
}

// answer logs every call that changes something or fails, and turns a panic into an error: deferred thaws have run by then.
func answer(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (reply any, err error) {
	start := time.Now()
	defer func() {
		if cause := recover(); cause != nil {
			log.Printf("panic in %s: %v\n%s", info.FullMethod, cause, debug.Stack())
			err = status.Errorf(codes.Internal, "panic: %v", cause)
		}
		method := filepath.Base(info.FullMethod)
		switch {
		case err != nil:
			log.Printf("%s%s failed after %s: %v", method, subject(request), time.Since(start).Round(time.Millisecond), err)
		case changes[method]:
			log.Printf("%s%s done in %s", method, subject(request), time.Since(start).Round(time.Millisecond))
		}
	}()
	return handle(ctx, request)
}

var changes = map[string]bool{
	"CreateVolume": true, "DeleteVolume": true, "CreateSnapshot": true, "DeleteSnapshot": true, "ControllerExpandVolume": true,
	"CreateVolumeGroupSnapshot": true, "DeleteVolumeGroupSnapshot": true, "NodeStageVolume": true, "NodeUnstageVolume": true,
	"NodePublishVolume": true, "NodeUnpublishVolume": true, "NodeExpandVolume": true,
}

// subject names what a request is about; requests may carry secrets, so they are never printed whole.
func subject(request any) string {
	text := ""
	if r, ok := request.(interface{ GetName() string }); ok {
		text += " " + r.GetName()
	}
	if r, ok := request.(interface{ GetVolumeId() string }); ok {
		text += " " + r.GetVolumeId()
	}
	if r, ok := request.(interface{ GetSnapshotId() string }); ok {
		text += " " + r.GetSnapshotId()
	}
	if r, ok := request.(interface{ GetGroupSnapshotId() string }); ok {
		text += " " + r.GetGroupSnapshotId()
	}
	if r, ok := request.(interface{ GetTargetPath() string }); ok {
		text += " at " + r.GetTargetPath()
	}
	return text
}

// registrar answers the kubelet, which finds it by its socket in the registration folder.
type registrar struct {
	registerapi.UnsafeRegistrationServer
	endpoint string
}

func register(socket, endpoint string) error {
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, &registrar{endpoint: endpoint})
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatalf("The registration server ended: %v", err)
		}
	}()
	return nil
}

func (r *registrar) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.CSIPlugin, Name: driverName, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(_ context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if !s.PluginRegistered {
		// The kubelet does not try again by itself; a restarted container makes it.
		log.Fatalf("The kubelet refused the registration: %s", s.Error)
	}
	log.Print("registered with the kubelet")
	return &registerapi.RegistrationStatusResponse{}, nil
}
