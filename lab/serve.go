package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

// serve is the built-in HTTP server of pods: it answers every request with one
// line that says who answers, as the image nettool does. The first inherit
// file descriptors after stderr are its sockets; without any it listens on port.
func serve(ctx context.Context, inherit, port int) error {
	var sockets []net.Listener
	for i := range inherit {
		l, err := net.FileListener(os.NewFile(uintptr(3+i), "socket"))
		if err != nil {
			return fmt.Errorf("take over socket %d: %w", 3+i, err)
		}
		sockets = append(sockets, l)
	}
	if inherit == 0 {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		sockets = append(sockets, l)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, len(sockets)) // one for each, so that none waits for its reader
	for _, l := range sockets {
		go func() { ended <- server.Serve(l) }()
	}
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		return server.Close()
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	name := os.Getenv("POD_NAME")
	if name == "" {
		name, _ = os.Hostname() // an empty name is answer enough
	}
	is4 := true
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		is4 = local.AddrPort().Addr().Unmap().Is4()
	}
	_, _ = io.WriteString(w, fmt.Sprintf("PodName: %s | PodIP: %s\n", name, podIP(is4))) // the client went: nobody to tell
}

// podIP is "eth0 10.0.2.202/32": the device with its address of the family
// that the client uses.
func podIP(is4 bool) string {
	dev, err := net.InterfaceByName(podDevice)
	if err != nil {
		return "none"
	}
	addrs, _ := dev.Addrs() // without any it says none
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() == is4 && !p.Addr().IsLinkLocalUnicast() {
			return strings.Join([]string{podDevice, p.String()}, " ")
		}
	}
	return "none"
}
