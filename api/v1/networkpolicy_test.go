package v1

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	sigsjson "sigs.k8s.io/json"
)

// A list that is empty selects nobody, one that is absent everybody: an object
// that loses the difference on its way through a program opens what it closed.
func TestEmptyAndAbsentListsSurviveDecodingAndEncoding(t *testing.T) {
	for _, root := range []any{&IngressRule{}, &EgressRule{}, &PortRule{}, &ICMPRule{}, &Rule{}, &CIDRRule{}, &L7Rules{}, &CiliumNetworkPolicy{}, &CiliumClusterwideNetworkPolicy{}} {
		typ := reflect.TypeOf(root).Elem()
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() == reflect.Uint8 {
				continue
			}
			for text, isNil := range map[string]bool{`{}`: true, `{"` + name + `":[]}`: false} {
				v := reflect.New(typ)
				for trip := range 2 {
					if strict, err := sigsjson.UnmarshalStrict([]byte(text), v.Interface()); err != nil || len(strict) > 0 {
						t.Fatalf("%s %s: %v %v", typ.Name(), text, err, strict)
					}
					got := v.Elem().Field(i)
					if got.IsNil() != isNil || got.Len() != 0 {
						t.Errorf("%s.%s of %s in trip %d: nil %v, want %v", typ.Name(), f.Name, text, trip, got.IsNil(), isNil)
					}
					data, err := json.Marshal(v.Interface())
					if err != nil {
						t.Fatal(err)
					}
					if strings.Contains(string(data), `"`+name+`"`) == isNil {
						t.Errorf("%s %s encodes as %s", typ.Name(), text, data)
					}
					text, v = string(data), reflect.New(typ)
				}
			}
		}
	}
}

func TestAPortIsAString(t *testing.T) {
	var p PortProtocol
	if _, err := sigsjson.UnmarshalStrict([]byte(`{"port":80}`), &p); err == nil {
		t.Error("a bare number was taken as a port")
	}
	if _, err := sigsjson.UnmarshalStrict([]byte(`{"port":"80"}`), &p); err != nil || *p.Port != "80" {
		t.Errorf("got %v %v", p.Port, err)
	}
}
