// Where the definitions of the kinds of the Prometheus operator and of KEDA come from, with their checksums in go.sum.
// Nothing is built of it. A module of its own, for the programs' modules want other versions of what these depend on.
module tracecar.io/tests/kubernetes/definitions

go 1.24.0

require (
	github.com/kedacore/keda/v2 v2.18.0
	github.com/prometheus-operator/prometheus-operator v0.86.1
)
