package lab

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestProgramsOfALabInheritNoFiles(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], 0); err != nil { // as a parent's, which nobody has marked
		t.Fatal(err)
	}
	kept := os.NewFile(uintptr(ends[0]), "")
	defer kept.Close()
	defer unix.Close(ends[1])
	if err := keepInherited(); err != nil {
		t.Fatal(err)
	}
	for _, fd := range ends {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("file %d: flags %x, %v: it is passed on", fd, flags, err)
		}
	}
}
