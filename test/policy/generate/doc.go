// Package generate makes clusters, policies and packets out of a number: small
// ones in which everything is close to a corner, so that rules match often and
// miss narrowly. What it makes is valid. A case can be printed as YAML, read
// back, and shrunk while it still fails.
//
// It knows what policies look like and not what they mean.
package generate
