// Package oracle says what network policies mean: the slow and obvious reading
// of the objects, packet by packet, without compiling anything.
//
// It is what the compiler, the maps and the programs are compared with, so it
// shares no code with any of them: it reads the objects with types of its own
// and walks over all of them for each packet. It is never fast and never
// clever. Objects that the API refuses are not its business: it takes what it
// is given to be valid.
package oracle
