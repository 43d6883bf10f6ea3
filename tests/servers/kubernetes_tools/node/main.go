// Program node is what a test's cluster has beside its API server: the controllers that make pods of workloads and
// clear up after them, and the streaming half of a kubelet. The pods themselves are run by the tests.
//
//	node KUBECONFIG PORT FOLDER
package main

import (
	"context"
	"log"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/statefulset"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("expected KUBECONFIG PORT FOLDER")
	}
	if err := control(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
	log.Fatal(serve(os.Args[2], os.Args[3]))
}

// control starts the controllers of Deployments, ReplicaSets and StatefulSets, and the garbage collector.
func control(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	client, about := kubernetes.NewForConfigOrDie(config), metadata.NewForConfigOrDie(config)
	shared := informers.NewSharedInformerFactory(client, 0)
	apps, core := shared.Apps().V1(), shared.Core().V1()
	deployments, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), core.Pods(), client)
	if err != nil {
		return err
	}
	replicaSets := replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), core.Pods(), client, replicaset.BurstReplicas)
	statefulSets := statefulset.NewStatefulSetController(
		ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), client)
	discovery := memory.NewMemCacheClient(client.Discovery())
	started := make(chan struct{})
	collector, err := garbagecollector.NewGarbageCollector(
		ctx, client, about, restmapper.NewDeferredDiscoveryRESTMapper(discovery), map[schema.GroupResource]struct{}{},
		informerfactory.NewInformerFactory(shared, metadatainformer.NewSharedInformerFactory(about, 0)), started)
	if err != nil {
		return err
	}
	shared.Start(ctx.Done())
	close(started)
	go deployments.Run(ctx, 2)
	go replicaSets.Run(ctx, 2)
	go statefulSets.Run(ctx, 2)
	go collector.Run(ctx, 2, 30*time.Second)
	go collector.Sync(ctx, client.Discovery(), time.Second)
	return nil
}
