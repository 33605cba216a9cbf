//go:build ignore

// Command nettool is an HTTP server, on the ports given or 80, that says which
// pod answers, as the one of pods in labs without Kubernetes does.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		fmt.Fprintf(w, "PodName: %s | PodIP: eth0 %s\n", name, address(local == nil || local.IP.To4() != nil))
	})
	ports := os.Args[1:]
	if len(ports) == 0 {
		ports = []string{"80"}
	}
	ended := make(chan error)
	for _, port := range ports {
		go func() { ended <- http.ListenAndServe(":"+port, answer) }()
	}
	log.Fatal(<-ended)
}

// address is the one of eth0 in the family that the client uses.
func address(is4 bool) string {
	dev, err := net.InterfaceByName("eth0")
	if err != nil {
		return err.Error()
	}
	addrs, _ := dev.Addrs() // without any it says none
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && (n.IP.To4() != nil) == is4 && !n.IP.IsLinkLocalUnicast() {
			return n.String()
		}
	}
	return "none"
}
