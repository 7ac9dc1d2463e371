package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Streaming counts the requests that ask for a list as the first events of a watch (WatchList).
type streaming struct {
	next  http.RoundTripper
	lists atomic.Int32
}

func (s *streaming) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.Contains(request.URL.RawQuery, "sendInitialEvents=true") {
		s.lists.Add(1)
	}
	return s.next.RoundTrip(request)
}

// Informer fills a cache by WatchList and follows additions, changes and deletions.
func informer(ctx context.Context, c *cluster) error {
	counted := &streaming{}
	config := rest.CopyConfig(c.config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { counted.next = next; return counted })
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	if err := create(ctx, c, "early"); err != nil {
		return err
	}
	seen := make(chan string, 1000)
	factory := informers.NewSharedInformerFactoryWithOptions(clients, 0, informers.WithNamespace(c.namespace))
	lister := factory.Core().V1().ConfigMaps().Lister().ConfigMaps(c.namespace)
	if _, err := factory.Core().V1().ConfigMaps().Informer().AddEventHandler(handlers(seen)); err != nil {
		return err
	}
	running, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	factory.Start(running.Done())
	for kind, synced := range factory.WaitForCacheSync(running.Done()) {
		if !synced {
			return fmt.Errorf("the cache of %v is not filled", kind)
		}
	}
	if _, err := lister.Get("early"); err != nil {
		return err
	}
	if counted.lists.Load() == 0 {
		return fmt.Errorf("no list was asked for as a watch")
	}
	if err := create(ctx, c, "late"); err != nil {
		return err
	}
	late, err := maps.Get(ctx, "late", meta.GetOptions{})
	if err != nil {
		return err
	}
	late.Data = map[string]string{"k": "2"}
	if _, err := maps.Update(ctx, late, meta.UpdateOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(ctx, "late", meta.DeleteOptions{}); err != nil {
		return err
	}
	return inOrder(running, seen, "added early", "added late", "updated late", "deleted late")
}

func create(ctx context.Context, c *cluster, name string) error {
	made := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: name}}
	_, err := c.typed.CoreV1().ConfigMaps(c.namespace).Create(ctx, made, meta.CreateOptions{})
	return err
}

func handlers(seen chan<- string) cache.ResourceEventHandlerFuncs {
	say := func(what string, object any) { seen <- what + " " + object.(*core.ConfigMap).Name }
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { say("added", object) },
		UpdateFunc: func(_, object any) { say("updated", object) },
		DeleteFunc: func(object any) { say("deleted", object) },
	}
}

// InOrder returns once all of `wanted` were seen, in order, among others.
func inOrder(ctx context.Context, seen <-chan string, wanted ...string) error {
	for _, item := range wanted {
		for found := ""; found != item; {
			select {
			case found = <-seen:
			case <-ctx.Done():
				return fmt.Errorf("%q was not seen", item)
			}
		}
	}
	return nil
}
