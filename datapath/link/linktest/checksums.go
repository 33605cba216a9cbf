package linktest

import (
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ChecksumsOff makes a device one that computes no checksums, so that the stack
// must have done so by the time a packet leaves.
func ChecksumsOff(t testing.TB, name string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const setTxChecksums = 0x17 // ETHTOOL_STXCSUM
	value := &struct{ command, on uint32 }{setTxChecksums, 0}
	request := struct {
		name  [unix.IFNAMSIZ]byte
		value unsafe.Pointer
		_     [16]byte
	}{value: unsafe.Pointer(value)}
	copy(request.name[:], name)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(value)
	if errno != 0 {
		t.Fatalf("turn checksums of %s off: %v", name, errno)
	}
}
