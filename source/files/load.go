package files

import (
	"crypto/sha256"

	"weir/source/convert"
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

	version []byte // of a good one: what the store keeps
	sum     checksum
}

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
		k, known := kinds[o.Kind]
		if !known {
			continue
		}
		e := entry{key: objectKey{o.Kind, o.Namespace, o.Name}, line: o.Line, at: o.Line}
		value, err := k.toRow(o, s)
		if err != nil {
			e.err, e.at = err.Error(), errorLine(err, o.Line)
		} else {
			e.value, e.version = value, version(name, o)
			e.sum = sha256.Sum256(e.version)
		}
		f.entries = append(f.entries, e)
	}
	return f
}
