package ipmasq

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ip-masq-agent")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"YAML", "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n- fd00::/8\nmasqLinkLocal: true\nresyncInterval: 60s\n", "10.0.0.0/8 fd00::/8 fe80::/10"},
		{"JSON", `{"nonMasqueradeCIDRs": ["172.16.0.0/12"], "masqLinkLocal": true, "masqLinkLocalIPv6": true}`, "172.16.0.0/12"},
		{"none at all", "nonMasqueradeCIDRs: []\nmasqLinkLocal: true\nmasqLinkLocalIPv6: true\n", ""},
		{"only link-local", "nonMasqueradeCIDRs: []\n", "169.254.0.0/16 fe80::/10"},
		{"empty", "", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 " +
			"198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 169.254.0.0/16 fe80::/10"},
	} {
		got, err := Read(write(t, c.text))
		var texts []string
		for _, p := range got {
			texts = append(texts, p.String())
		}
		if err != nil || strings.Join(texts, " ") != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.name, texts, err, c.want)
		}
	}
	missing, err := Read(filepath.Join(t.TempDir(), "none"))
	if err != nil || len(missing) != 13 {
		t.Errorf("no file: %v, %v, want the usual ones", missing, err)
	}
}

func TestReadNamesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"nonMasqueradeCIDRs: [10.0.0.0]":      `nonMasqueradeCIDRs[0]: "10.0.0.0" is not a CIDR such as`,
		"nonMasqueradeCIDRs: [10.1.0.0/8]":    "nonMasqueradeCIDRs[0]: 10.1.0.0/8 has host bits set: write 10.0.0.0/8",
		"nonMasqueradeCIDR: [10.0.0.0/8]":     "field nonMasqueradeCIDR not found",
		"nonMasqueradeCIDRs: {a: 10.0.0.0/8}": "cannot unmarshal",
		"masqLinkLocal: perhaps":              "cannot unmarshal",
	} {
		if _, err := Read(write(t, text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "the rules before it are") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
