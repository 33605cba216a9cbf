package datapath

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CgroupRoot returns the folder of the cgroup v2 that all processes of the host are
// in: the configured one, or where it is mounted.
func CgroupRoot(configured string) (string, error) {
	if configured == "" {
		f, err := os.Open("/proc/self/mountinfo")
		if err != nil {
			return "", fmt.Errorf("look for a cgroup v2: %w", err)
		}
		defer f.Close()
		return findCgroup(f)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(configured, &fs); err != nil {
		return "", fmt.Errorf("cgroupRoot %s: %w: name a folder of a mounted cgroup v2, such as /sys/fs/cgroup", configured, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", fmt.Errorf("cgroupRoot %s is not in a cgroup v2: name a folder of one, such as /sys/fs/cgroup, or leave it out to have it found", configured)
	}
	return configured, nil
}

// findCgroup reads a mountinfo (proc(5)). Where only a part of the hierarchy is
// mounted, as in a container, a mount of the whole comes first.
func findCgroup(mountinfo io.Reader) (string, error) {
	part := ""
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		if f[3] == "/" {
			return unescape(f[4]), nil
		}
		if part == "" {
			part = unescape(f[4])
		}
	}
	if part != "" {
		return part, nil
	}
	return "", errors.New("no cgroup v2 is mounted: mount one, such as `mount -t cgroup2 none /run/weir/cgroup`, and name it as cgroupRoot")
}

// unescape turns \040 of a mountinfo into the space that it stands for.
func unescape(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if n, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(path[i])
	}
	return out.String()
}
