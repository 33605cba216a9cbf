// Package identity gives every pod of the cluster the number of its labels.
//
// It reads pods, namespaces, policies, services and the cluster's identities,
// and writes three tables: podIdentities, each pod's number; identities, the
// labels of each number; and visibleLabels, the keys that both tell apart. Who
// finds a pod's number finds its labels, too.
//
// Only labels that some policy can see make an identity. One that a new policy
// sees splits identities at once; one that no policy sees any more goes only
// later, so that nothing is merged while the old policy is still in force.
//
// A set of labels has the cluster's number as soon as there is one, and until
// then one of this node's own, so that policy never waits for the operator. That
// depends on the labels alone: after a restart it is the same. A number that
// nobody has any more is kept for a while, because connections in flight name it;
// so are those of the agent before, which the maps name until pods have others.
//
// A pod gets a number only when control/policy has written what it means
// (judgedIdentities): an address whose number the maps do not know meets no rule by
// labels, and so none that denies it.
//
// Nothing here knows what an identity may do.
package identity
