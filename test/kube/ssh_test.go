package kube

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"weir/lab/kube"
)

// serveSSH lets tests run commands on the nodes of a lab by SSH, as they do on
// machines, and returns the file of the key that opens them.
func serveSSH(t *testing.T, l *kube.Lab) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
		if string(offered.Marshal()) != string(signer.PublicKey().Marshal()) {
			return nil, errors.New("not the key of these tests")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	for _, node := range strings.Fields(l.Kubectl(t.Context(), "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").Stdout) {
		var listener net.Listener
		err := inside(l, node, func() (err error) {
			listener, err = net.Listen("tcp", ":22")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go serveConn(conn, config, func(command string) kube.Result {
					// Who comes in is root already.
					return l.Exec(context.WithoutCancel(t.Context()), node, "sh", "-c", `sudo() { "$@"; }`+"\n"+command)
				})
			}
		}()
	}
	return file
}

func serveConn(conn net.Conn, config *ssh.ServerConfig, run func(command string) kube.Result) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return // who it was asks again, or says so
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			offered.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go serveSession(channel, requests, run)
	}
}

func serveSession(channel ssh.Channel, requests <-chan *ssh.Request, run func(command string) kube.Result) {
	defer channel.Close()
	for request := range requests {
		var exec struct{ Command string }
		if request.Type != "exec" || ssh.Unmarshal(request.Payload, &exec) != nil {
			request.Reply(false, nil)
			continue
		}
		request.Reply(true, nil)
		r := run(exec.Command)
		channel.Write([]byte(r.Stdout))
		channel.Stderr().Write([]byte(r.Stderr))
		channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(r.Code)}))
		return
	}
}
