// Package dns reads answers of DNS that pods got, and remembers which names they gave to
// which addresses. Answers come off the wire, from whomever: nothing in them is believed
// but what they say of the name that was asked for, and nothing of them takes more room
// than is bounded here.
//
// The package knows neither flows nor the kernel.
package dns
