// Checks of a cluster's REST API with client-go and controller-runtime, as programs use them. Each check ends with an error or in time.
//
// Usage: clients CHECK. The cluster is the kubeconfig's; the namespace of the check's name is made and removed by the caller.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Patience is the time that one check may take.
const patience = 60 * time.Second

// Cluster holds the clients of one kubeconfig, and the namespace of a check.
type cluster struct {
	config    *rest.Config
	typed     kubernetes.Interface
	dynamic   dynamic.Interface
	namespace string
}

var checks = map[string]func(context.Context, *cluster) error{
	"typed":    typed,
	"informer": informer,
	"custom":   custom,
	"election": election,
	"apply":    apply,
	"openapi":  openapi,

	"controller": controller,
	"leadership": leadership,
}

func main() {
	if len(os.Args) != 2 || checks[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: clients typed|informer|custom|election|apply|openapi|controller|leadership")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found, err := connect(name)
	if err != nil {
		return err
	}
	if err := checks[name](ctx, found); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Println(name, "done")
	return nil
}

// Connect reads the kubeconfig as kubectl does. Typed clients send and accept protobuf, as controllers do.
func connect(name string) (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	binary := rest.CopyConfig(config)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	binary.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	clients, err := kubernetes.NewForConfig(binary)
	if err != nil {
		return nil, err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &cluster{config, clients, untyped, "go-" + name}, nil
}
