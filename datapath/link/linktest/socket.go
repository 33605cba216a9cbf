package linktest

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// Roomy gives a socket room for what comes while nobody reads, however busy the machine is:
// what such a socket drops would count as lost on the way.
func Roomy(u *net.UDPConn) error {
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) })
	return errors.Join(failed, err)
}
