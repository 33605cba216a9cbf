// Package certs makes certificates for a laboratory or a test: an authority of their own
// and files that it has signed. The authority's key is in memory alone, so that nobody
// signs by it later.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	before = time.Hour // that a certificate counts already: clocks differ
	life   = 365 * 24 * time.Hour
)

// Authority signs certificates.
type Authority struct {
	File string // its own certificate, PEM

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is the files of one certificate, PEM.
type Pair struct{ Cert, Key string }

// New makes an authority, and writes its certificate to ca.crt in dir.
func New(dir, name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	a := &Authority{dir: dir, key: key, cert: template(name)}
	a.cert.IsCA, a.cert.BasicConstraintsValid, a.cert.KeyUsage = true, true, x509.KeyUsageCertSign
	a.File, err = a.sign(a.cert, "ca.crt", key)
	return a, err
}

// Issue makes a certificate that names what it is for, and that servers and clients may
// use: file.crt and file.key.
func (a *Authority) Issue(file string, names ...string) (p Pair, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, fmt.Errorf("make the key of %s: %w", file, err)
	}
	cert := template(file)
	cert.DNSNames = names
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if p.Cert, err = a.sign(cert, file+".crt", key); err != nil {
		return p, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return p, fmt.Errorf("encode the key of %s: %w", file, err)
	}
	p.Key, err = a.write(file+".key", "PRIVATE KEY", der)
	return p, err
}

func template(name string) *x509.Certificate {
	now := time.Now()
	// 64 bits are enough by RFC 5280 section 4.1.2.2, and never 0.
	serial, err := rand.Int(rand.Reader, new(big.Int).SetUint64(1<<63))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-before), NotAfter: now.Add(life)}
}

func (a *Authority) sign(cert *x509.Certificate, file string, key *ecdsa.PrivateKey) (string, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return "", fmt.Errorf("make certificate %s: %w", file, err)
	}
	return a.write(file, "CERTIFICATE", der)
}

func (a *Authority) write(file, kind string, der []byte) (string, error) {
	path := filepath.Join(a.dir, file)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return "", fmt.Errorf("write certificate: %w", err)
	}
	return path, nil
}
