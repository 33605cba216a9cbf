package datapath

import (
	"strings"
	"testing"
)

func TestTheCgroupIsFoundAmongTheMounts(t *testing.T) {
	for _, c := range []struct{ what, mounts, want string }{
		{"one", "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate", "/sys/fs/cgroup"},
		{"hybrid", "33 32 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n34 32 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw", "/sys/fs/cgroup/unified"},
		{"the whole before a part", "31 24 0:27 /kubepods/x /sys/fs/cgroup rw - cgroup2 c rw\n40 24 0:27 / /run/my\\040cgroup rw - cgroup2 c rw", "/run/my cgroup"},
		{"a part", "31 24 0:27 /kubepods/x /sys/fs/cgroup rw - cgroup2 c rw", "/sys/fs/cgroup"},
		{"none", "33 32 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\nbroken line", ""},
	} {
		got, err := findCgroup(strings.NewReader(c.mounts))
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: got %q, %v; want %q", c.what, got, err, c.want)
		}
	}
}

func TestAConfiguredCgroupHasToBeOne(t *testing.T) {
	for path, says := range map[string]string{"/": "is not in a cgroup v2", "/none": "no such file"} {
		if _, err := CgroupRoot(path); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "/sys/fs/cgroup") {
			t.Errorf("%s: got %v, want an error that says %q and the way out", path, err, says)
		}
	}
}
