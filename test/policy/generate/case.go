package generate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"weir/test/policy/oracle"
)

// Object is a Kubernetes object as its JSON has it.
type Object = map[string]any

// Case is a cluster with policies, and packets to ask about.
type Case struct {
	Settings oracle.Settings
	Objects  []Object
	Packets  []oracle.Packet
}

// World reads the objects with the oracle's eyes.
func (c Case) World() (*oracle.World, error) {
	var raw []json.RawMessage
	for _, o := range c.Objects {
		data, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		raw = append(raw, data)
	}
	return oracle.New(c.Settings, raw)
}

// ObjectsYAML is the objects as a user would write them.
func (c Case) ObjectsYAML() []byte {
	var out bytes.Buffer
	for _, o := range c.Objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			panic(err) // made of maps, lists and scalars
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.Bytes()
}

// marks before what is not an object, in the text of a case.
const (
	settingsMark = "# settings: "
	packetMark   = "# packet: "
)

// String is the whole case; Parse reads it.
func (c Case) String() string {
	var out strings.Builder
	data, _ := json.Marshal(c.Settings)
	fmt.Fprintf(&out, "%s%s\n", settingsMark, data)
	for _, p := range c.Packets {
		data, _ := json.Marshal(p)
		fmt.Fprintf(&out, "%s%s\n", packetMark, data)
	}
	out.Write(c.ObjectsYAML())
	return out.String()
}

// Parse reads what String printed.
func Parse(text string) (Case, error) {
	var c Case
	for line := range strings.Lines(text) {
		var err error
		if s, ok := strings.CutPrefix(line, settingsMark); ok {
			err = json.Unmarshal([]byte(s), &c.Settings)
		} else if s, ok := strings.CutPrefix(line, packetMark); ok {
			var p oracle.Packet
			err = json.Unmarshal([]byte(s), &p)
			c.Packets = append(c.Packets, p)
		}
		if err != nil {
			return c, fmt.Errorf("%q: %w", line, err)
		}
	}
	for doc := range strings.SplitSeq("\n"+text, "\n---\n") {
		var o Object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			return c, err
		}
		if len(o) > 0 {
			c.Objects = append(c.Objects, o)
		}
	}
	return c, nil
}

func (c Case) clone() Case {
	out := c
	data, _ := json.Marshal(c.Objects)
	out.Objects = nil
	if err := json.Unmarshal(data, &out.Objects); err != nil {
		panic(err)
	}
	return out
}
