package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctlRoots are where settings below net can be written, the first that is there. In
// a container /proc/sys is read-only; the node's is mounted beside it.
var sysctlRoots = []string{"/host/proc/sys/net", "/proc/sys/net"}

func sysctlRoot() string {
	for _, dir := range sysctlRoots {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return sysctlRoots[len(sysctlRoots)-1]
}

// Sysctl is one kernel setting below net. Its key is a path with slashes
// ("ipv4/conf/eth0/rp_filter"), because device names may contain dots.
type Sysctl struct{ Key, Value string }

// DeviceSysctls is what every device of ours needs: packets arrive on it from
// addresses that the host routes elsewhere, so the reverse path is not checked.
func DeviceSysctls(device string) []Sysctl {
	return []Sysctl{{"ipv4/conf/" + device + "/rp_filter", "0"}}
}

// ApplySysctls writes those settings of the thread's network namespace that
// differ from what is wanted.
func ApplySysctls(settings ...Sysctl) error {
	for _, s := range settings {
		got, err := readSysctl(s.Key)
		if err != nil {
			return err
		}
		if got == s.Value {
			continue
		}
		if err := os.WriteFile(filepath.Join(sysctlRoot(), s.Key), []byte(s.Value), 0); err != nil {
			return fmt.Errorf("set sysctl net/%s from %s to %s: %w (set it yourself, or let the agent write below /proc/sys/net)",
				s.Key, got, s.Value, err)
		}
	}
	return nil
}

// ForwardHost makes the host forward packets between its devices without
// taking anything from those that are not ours: they keep accepting router
// advertisements, and they keep the reverse path check that they had.
func ForwardHost(ipv6 bool) error {
	if err := ApplySysctls(Sysctl{"ipv4/ip_forward", "1"}); err != nil {
		return err
	}
	if err := relaxReversePath(); err != nil {
		return err
	}
	if !ipv6 {
		return nil
	}
	if err := CheckIPv6(); err != nil {
		return err
	}
	return forwardIPv6()
}

// CheckIPv6 returns an error with the way out when the host cannot speak IPv6.
func CheckIPv6() error {
	const key = "ipv6/conf/all/disable_ipv6"
	off, err := readSysctl(key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: ipv6.enabled is true, but the kernel has no IPv6 (boot without ipv6.disable=1, or set ipv6.enabled to false)", ErrNoIPv6)
	case err != nil:
		return err
	case off != "0":
		return fmt.Errorf("%w: ipv6.enabled is true, but net/%s is %s (set it to 0, or set ipv6.enabled to false)", ErrNoIPv6, key, off)
	}
	return nil
}

// relaxReversePath takes the strict check off all devices at once, which would
// overrule the setting of ours, and leaves it on each of the others.
func relaxReversePath() error {
	const all = "ipv4/conf/all/rp_filter"
	if got, err := readSysctl(all); err != nil || got != "1" {
		return err
	}
	err := eachDevice("ipv4", "rp_filter", "0", func(key string) error {
		return ApplySysctls(Sysctl{key, "1"})
	})
	if err != nil {
		return err
	}
	return ApplySysctls(Sysctl{all, "0"})
}

// forwardIPv6 switches forwarding on. The kernel ignores router advertisements
// on a forwarding host unless accept_ra is 2, and many a node has its default
// route from them.
func forwardIPv6() error {
	const all = "ipv6/conf/all/forwarding"
	if got, err := readSysctl(all); err != nil || got == "1" {
		return err
	}
	err := eachDevice("ipv6", "accept_ra", "1", func(key string) error {
		return ApplySysctls(Sysctl{key, "2"})
	})
	if err != nil {
		return err
	}
	return ApplySysctls(Sysctl{all, "1"})
}

// eachDevice calls f with the key of the named setting of each device that is
// not ours and has the given value there, and of the default for devices to come.
func eachDevice(family, setting, value string, f func(key string) error) error {
	dirs, err := os.ReadDir(filepath.Join(sysctlRoot(), family, "conf"))
	if err != nil {
		return fmt.Errorf("list sysctls of devices: %w", err)
	}
	for _, d := range dirs {
		if d.Name() == "all" || strings.HasPrefix(d.Name(), "weir") {
			continue
		}
		key := family + "/conf/" + d.Name() + "/" + setting
		got, err := readSysctl(key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the device went while we were looking
		}
		if err != nil {
			return err
		}
		if got != value {
			continue
		}
		if err := f(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot(), key))
	if err != nil {
		return "", fmt.Errorf("read sysctl net/%s: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}
