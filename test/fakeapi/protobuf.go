package fakeapi

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

// fromProtobuf makes JSON of what clients of built-in kinds send.
func fromProtobuf(body []byte) ([]byte, error) {
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decode body: %w", err)
	}
	return json.Marshal(o)
}

// toProtobuf is the reverse; nil when the kind is not a built-in one.
func toProtobuf(data []byte) []byte {
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	if protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(o, &out) != nil {
		return nil
	}
	return out.Bytes()
}

// takesProtobuf reports whether a watch is to be told in protobuf.
func (s *Server) takesProtobuf(q *request) bool {
	return s.Protobuf && strings.HasPrefix(q.Header.Get("Accept"), runtime.ContentTypeProtobuf)
}

// sendProtobuf writes an event as one frame: its length, and the event.
func (st *stream) sendProtobuf(what string, object []byte) error {
	e := metav1.WatchEvent{Type: what, Object: runtime.RawExtension{Raw: object}}
	data, err := e.Marshal()
	if err != nil {
		return err
	}
	_, err = st.w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}
