package lab

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// keepInherited keeps from a lab's programs what this process got from its parent beside
// the usual three: they outlive both, and would hold its locks and pipes open.
func keepInherited() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) { // before Linux 5.11
		return fmt.Errorf("mark inherited files: %w", err)
	}
	return nil
}
