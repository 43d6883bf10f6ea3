package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/cert"
	"k8s.io/kubelet/pkg/cri/streaming"
	"k8s.io/kubelet/pkg/cri/streaming/portforward"
	"k8s.io/kubelet/pkg/cri/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// node knows its pods by files: FOLDER/NAMESPACE/POD/network is the path of the pod's network namespace, and beneath it
// CONTAINER/enter a program that runs a command in the container, CONTAINER/log what it wrote.
type node string

func serve(port, folder string) error {
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	mux, here := http.NewServeMux(), node(folder)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", here.exec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", here.forward)
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", here.log)
	// Upgraded connections are HTTP/1.1.
	server := http.Server{
		Addr: "127.0.0.1:" + port, Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	return server.ListenAndServeTLS("", "")
}

func (n node) place(request *http.Request, more ...string) string {
	parts := []string{string(n), request.PathValue("namespace"), request.PathValue("pod"), request.PathValue("container")}
	return filepath.Join(append(parts, more...)...)
}

func (n node) log(answer http.ResponseWriter, request *http.Request) {
	http.ServeFile(answer, request, n.place(request, "log"))
}

func (n node) exec(answer http.ResponseWriter, request *http.Request) {
	options, err := remotecommand.NewOptions(request)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	with := streaming.DefaultConfig
	remotecommand.ServeExec(answer, request, executor{}, "", "", n.place(request, "enter"), request.URL.Query()["command"],
		options, with.StreamIdleTimeout, with.StreamCreationTimeout, with.SupportedRemoteCommandProtocols)
}

func (n node) forward(answer http.ResponseWriter, request *http.Request) {
	options, err := portforward.NewV4Options(request)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	with := streaming.DefaultConfig
	portforward.ServePortForward(answer, request, forwarder{}, n.place(request, "network"), "", options,
		with.StreamIdleTimeout, with.StreamCreationTimeout, with.SupportedPortForwardProtocols)
}

type executor struct{}

func (executor) ExecInContainer(ctx context.Context, _ string, _ types.UID, enter string, words []string, in io.Reader,
	out, err io.WriteCloser, _ bool, _ <-chan client.TerminalSize, _ time.Duration) error {
	command := exec.CommandContext(ctx, enter, words...)
	command.Stdin, command.Stdout, command.Stderr = in, out, err
	failed := command.Run()
	var ended *exec.ExitError
	if errors.As(failed, &ended) {
		return utilexec.CodeExitError{Err: failed, Code: ended.ExitCode()}
	}
	return failed
}

type forwarder struct{}

// PortForward joins the stream with a port of the pod's loopback, as a kubelet's runtime does.
func (forwarder) PortForward(_ context.Context, network string, _ types.UID, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	connection, err := within(network, port)
	if err != nil {
		return err
	}
	defer connection.Close()
	go func() {
		_, _ = io.Copy(connection, stream)
		_ = connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, connection)
	return err
}

// within is a connection made in the network namespace that the file names.
func within(file string, port int32) (net.Conn, error) {
	path, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	namespace, err := os.Open(strings.TrimSpace(string(path)))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	// The thread is not given back, for it stays where it went.
	made := make(chan int, 1)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			failed <- err
			return
		}
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(socket, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
		}
		if err != nil {
			failed <- fmt.Errorf("port %d of the pod: %w", port, err)
			return
		}
		made <- socket
	}()
	select {
	case err := <-failed:
		return nil, err
	case socket := <-made:
		_ = syscall.SetNonblock(socket, true)
		held := os.NewFile(uintptr(socket), "pod")
		defer held.Close()
		return net.FileConn(held)
	}
}
