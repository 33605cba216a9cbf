package files

import (
	corev1 "k8s.io/api/core/v1"

	"weir/api/v1"
	"weir/source/convert"
	"weir/state"
)

// objectKey names an object in the cluster.
type objectKey struct{ kind, namespace, name string }

func (k objectKey) String() string { return objectName(k.kind, k.namespace, k.name) }

// entry is one object of a file: a row, or why there is none.
type entry struct {
	key   objectKey
	line  int // of the object
	value any
	err   string
	at    int // the line that err speaks of
}

// coreNode is the row of a Kubernetes Node, which counts only when the node has
// no CiliumNode.
type coreNode state.Node

// load turns the content of a file into rows.
func load(name string, data []byte, s convert.Scope) *file {
	objects, problems := Parse(name, data)
	f := &file{}
	for _, p := range problems {
		key, known := guessKey(p.Key.Object)
		if !known {
			f.problems, f.unsure = append(f.problems, p), true
			continue
		}
		f.entries = append(f.entries, entry{key: key, line: p.Line, at: p.Line, err: p.Error})
	}
	for _, o := range objects {
		want, known := versions[o.Kind]
		if !known {
			continue
		}
		e := entry{key: objectKey{o.Kind, o.Namespace, o.Name}, line: o.Line, at: o.Line}
		if o.APIVersion != want {
			e.err = "apiVersion: \"" + o.APIVersion + "\" has no kind " + o.Kind + ": write " + want
		} else if value, err := toRow(o, s); err != nil {
			e.err = err.Error()
			if d, ok := err.(*DecodeError); ok {
				e.at = d.Line
			}
		} else {
			e.value = value
		}
		f.entries = append(f.entries, e)
	}
	return f
}

// versions are the kinds that become rows, with their apiVersion.
var versions = map[string]string{
	"Pod":                 "v1",
	"Node":                "v1",
	v1.KindCiliumNode:     v1.APIVersion,
	v1.KindCiliumIdentity: v1.APIVersion,
}

func toRow(o Object, s convert.Scope) (any, error) {
	switch o.Kind {
	case "Pod":
		var pod corev1.Pod
		if err := o.Decode(&pod); err != nil {
			return nil, err
		}
		return convert.Pod(&pod)
	case "Node":
		var node corev1.Node
		if err := o.Decode(&node); err != nil {
			return nil, err
		}
		row, err := convert.Node(&node, s)
		return coreNode(row), err
	case v1.KindCiliumNode:
		var node v1.CiliumNode
		if err := o.Decode(&node); err != nil {
			return nil, err
		}
		return convert.CiliumNode(&node, s)
	default:
		var id v1.CiliumIdentity
		if err := o.Decode(&id); err != nil {
			return nil, err
		}
		return convert.CiliumIdentity(&id)
	}
}
