package cni

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"weir/api/agent"
	"weir/internal/suggest"
)

// conf is a network configuration of type weir-cni.
type conf struct {
	types.PluginConf
	Socket  string `json:"socket"`   // of the agent
	RunDir  string `json:"runDir"`   // has the delete queue
	LogFile string `json:"log-file"` // empty: no log

	keys map[string]json.RawMessage
}

const (
	defaultRunDir = "/var/run/weir"
	keyValid      = "cni.dev/valid-attachments"
	keyPrevResult = "prevResult"
)

// ours are the keys a user may set; protocol are those that the specification
// or the runtime adds, besides all that begin with reservedPrefix.
var (
	ours     = []string{"socket", "runDir", "log-file"}
	protocol = []string{"cniVersion", "name", "type", "capabilities", "args", "runtimeConfig", "dns", "ipam", keyPrevResult}
)

const reservedPrefix = "cni.dev/"

// parse reads a configuration without judging its keys.
func parse(stdin []byte) (*conf, error) {
	c := &conf{}
	if err := json.Unmarshal(stdin, &c.keys); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "network configuration is not a JSON object", err.Error())
	}
	if err := json.Unmarshal(stdin, c); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "network configuration has a value of the wrong type", err.Error())
	}
	if c.CNIVersion == "" {
		c.CNIVersion = "0.1.0" // what the specification says of a missing version
	}
	if c.Socket == "" {
		c.Socket = agent.DefaultSocket
	}
	if c.RunDir == "" {
		c.RunDir = defaultRunDir
	}
	return c, nil
}

// given reports whether the key has a value.
func (c *conf) given(key string) bool {
	v, ok := c.keys[key]
	return ok && string(v) != "null"
}

// check refuses what a user cannot have meant. DEL and GC do without: a
// misspelt key must not keep a pod from going.
func (c *conf) check() error {
	for key := range c.keys {
		if slices.Contains(ours, key) || slices.Contains(protocol, key) || strings.HasPrefix(key, reservedPrefix) {
			continue
		}
		return invalid("unknown key %q in the network configuration%s", key, meant(key))
	}
	if c.IPAM.Type != "" {
		return invalid("ipam type %q: weir-agent assigns the addresses itself; remove ipam from the network configuration", c.IPAM.Type)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf(format, args...), "")
}

// meant names the key that was probably meant, or all there are.
func meant(key string) string {
	if best := suggest.Nearest(key, ours); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known are " + strings.Join(ours, ", ")
}
