//go:build programs

// Package programs names what go.mod must keep.
package programs

import _ "sigs.k8s.io/kubectl-validate"
