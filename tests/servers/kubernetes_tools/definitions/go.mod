// Where the definitions of the kinds of the Prometheus operator, of KEDA and of the Gateway API come from, and the schemas
// of Kubernetes releases, with their checksums in go.sum (which has older versions of KEDA and Kubernetes too). Nothing is
// built of it. A module of its own, because the programs' modules want other versions of its dependencies.
module tracecar.io/tests/kubernetes/definitions

go 1.24.0

require (
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.86.1
	k8s.io/kubernetes v1.37.2
	sigs.k8s.io/gateway-api v1.5.1
)
