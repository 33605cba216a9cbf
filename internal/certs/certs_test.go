package certs

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
)

func TestCertificatesAreTheAuthoritysAndNameWhatTheyAreFor(t *testing.T) {
	dir := t.TempDir()
	a, err := New(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Issue("node", "*.test.example")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if ca, err := os.ReadFile(a.File); err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("%s holds no certificate, %v", a.File, err)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "n1.test.example", Roots: pool, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Error(err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "n1.other.example", Roots: pool}); err == nil {
		t.Error("it is taken for another name")
	}
	if fi, err := os.Stat(p.Key); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key: %v, %v", fi.Mode(), err)
	}
}
