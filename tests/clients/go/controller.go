package main

import (
	"context"
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const byLength = "spec.length"

// Controller runs a manager of controller-runtime: a controller with cached clients, a finalizer, status patches, owned objects that
// are applied and restored, events, an index.
func controller(ctx context.Context, c *cluster) error {
	ctrl.SetLogger(klog.NewKlogr())
	direct, err := client.New(c.config, client.Options{Scheme: knownTypes()})
	if err != nil {
		return err
	}
	if err := direct.Create(ctx, keelDefinition()); err != nil {
		return err
	}
	if err := established(ctx, direct); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	manager, err := managed(running, c)
	if err != nil {
		return err
	}
	go func() { ended <- manager.Start(running) }()
	if err := (&voyage{direct, manager.GetClient(), client.ObjectKey{Namespace: c.namespace, Name: "main"}}).all(ctx); err != nil {
		return err
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	return direct.Delete(ctx, keelDefinition())
}

func established(ctx context.Context, direct client.Client) error {
	return poll(ctx, "the kind is known", func() (bool, error) {
		err := direct.List(ctx, &KeelList{})
		return err == nil, nil
	})
}

func poll(ctx context.Context, what string, holds func() (bool, error)) error {
	check := func(context.Context) (bool, error) { return holds() }
	if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, check); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func options(c *cluster) ctrl.Options {
	one := true
	options := ctrl.Options{Scheme: knownTypes(), Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0"}
	options.Cache = cache.Options{DefaultNamespaces: map[string]cache.Config{c.namespace: {}}}
	options.Controller.SkipNameValidation = &one
	return options
}

func managed(ctx context.Context, c *cluster) (ctrl.Manager, error) {
	manager, err := ctrl.NewManager(c.config, options(c))
	if err != nil {
		return nil, err
	}
	length := func(object client.Object) []string { return []string{fmt.Sprint(object.(*Keel).Spec.Length)} }
	if err := manager.GetFieldIndexer().IndexField(ctx, &Keel{}, byLength, length); err != nil {
		return nil, err
	}
	//lint:ignore SA1019 the recorder of core/v1, which most controllers still use
	older := manager.GetEventRecorderFor("yard")
	reconciler := &yard{manager.GetClient(), manager.GetEventRecorder("yard"), older}
	// Of Secrets, metadata alone is watched.
	return manager, ctrl.NewControllerManagedBy(manager).For(&Keel{}).Owns(&core.ConfigMap{}).
		Owns(&core.Secret{}, builder.OnlyMetadata).Complete(reconciler)
}

// Voyage is what a user sees of the controller. Objects are read from the server, or from the manager's cache.
type voyage struct {
	direct, cached client.Client
	key            client.ObjectKey
}

func (v *voyage) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{v.created, v.indexed, v.changed, v.restored, v.recorded, v.deleted} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (v *voyage) keel() *Keel {
	return &Keel{ObjectMeta: v1.ObjectMeta{Name: v.key.Name, Namespace: v.key.Namespace}}
}

func (v *voyage) named(suffix string) v1.ObjectMeta {
	return v1.ObjectMeta{Name: v.key.Name + suffix, Namespace: v.key.Namespace}
}

func (v *voyage) created(ctx context.Context) error {
	keel := v.keel()
	keel.Spec.Length = 20
	if err := v.direct.Create(ctx, keel); err != nil {
		return err
	}
	return v.laid(ctx, "20")
}

// Laid waits for the status and for the plan.
func (v *voyage) laid(ctx context.Context, length string) error {
	return poll(ctx, "a keel of "+length+" is laid", func() (bool, error) {
		keel, plan, key := &Keel{}, &core.ConfigMap{}, v.key
		if err := v.direct.Get(ctx, key, keel); err != nil {
			return false, err
		}
		key.Name += "-plan"
		if err := v.direct.Get(ctx, key, plan); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		good := isLaid(keel) && fmt.Sprint(keel.Status.Laid) == length && plan.Data["length"] == length
		return good && v1.IsControlledBy(plan, keel) && len(keel.Finalizers) == 1, nil
	})
}

// Indexed reads from the cache, by an index and by labels.
func (v *voyage) indexed(ctx context.Context) error {
	return poll(ctx, "the cache has the keel and its plan", func() (bool, error) {
		found, plans := &KeelList{}, &core.ConfigMapList{}
		if err := v.cached.List(ctx, found, client.InNamespace(v.key.Namespace), client.MatchingFields{byLength: "20"}); err != nil {
			return false, err
		}
		err := v.cached.List(ctx, plans, client.InNamespace(v.key.Namespace), client.MatchingLabels{"keel": v.key.Name})
		return len(found.Items) == 1 && len(plans.Items) == 1, err
	})
}

func (v *voyage) changed(ctx context.Context) error {
	keel := v.keel()
	if err := v.direct.Get(ctx, v.key, keel); err != nil {
		return err
	}
	stale, before := keel.copied(), keel.copied()
	keel.Spec.Length = 30
	if err := v.direct.Patch(ctx, keel, client.MergeFrom(&before)); err != nil {
		return err
	}
	if keel.Generation != before.Generation+1 {
		return fmt.Errorf("the generation is %d after %d", keel.Generation, before.Generation)
	}
	stale.Spec.Length = 40
	if err := v.direct.Update(ctx, &stale); !errors.IsConflict(err) {
		return fmt.Errorf("an update of an old version: %v", err)
	}
	return v.laid(ctx, "30")
}

// Restored changes the plan behind the controller's back, and removes it and the key.
func (v *voyage) restored(ctx context.Context) error {
	plan := &core.ConfigMap{ObjectMeta: v.named("-plan")}
	change := client.RawPatch("application/merge-patch+json", []byte(`{"data":{"length":"0"}}`))
	if err := v.direct.Patch(ctx, plan, change); err != nil {
		return err
	}
	if err := v.laid(ctx, "30"); err != nil {
		return err
	}
	key := &core.Secret{ObjectMeta: v.named("-key")}
	for _, object := range []client.Object{plan, key} {
		if err := v.direct.Delete(ctx, object); err != nil {
			return err
		}
	}
	if err := v.laid(ctx, "30"); err != nil {
		return err
	}
	return poll(ctx, "the key is there again", func() (bool, error) {
		err := v.direct.Get(ctx, client.ObjectKeyFromObject(key), &core.Secret{})
		return err == nil, client.IgnoreNotFound(err)
	})
}

// Recorded waits for the events of two reports, of either group: those in events.k8s.io have a series.
func (v *voyage) recorded(ctx context.Context) error {
	return poll(ctx, "events are recorded", func() (bool, error) {
		newer, older := &events.EventList{}, &core.EventList{}
		wanted := client.MatchingFields{"regarding.kind": "Keel", "regarding.name": v.key.Name, "reason": "Laid"}
		if err := v.direct.List(ctx, newer, client.InNamespace(v.key.Namespace), wanted); err != nil {
			return false, err
		}
		wanted = client.MatchingFields{"involvedObject.kind": "Keel", "involvedObject.name": v.key.Name, "reason": "Reported"}
		err := v.direct.List(ctx, older, client.InNamespace(v.key.Namespace), wanted)
		repeated := 0
		for _, event := range newer.Items {
			if event.Action == "Lay" && event.Series != nil && event.Series.Count > 1 {
				repeated++
			}
		}
		return repeated > 1 && len(older.Items) > 1, err
	})
}

// Deleted waits for the finalizer's work, and for the garbage collector's.
func (v *voyage) deleted(ctx context.Context) error {
	if err := v.direct.Delete(ctx, v.keel()); err != nil {
		return err
	}
	gone := map[string]client.Object{"-plan": &core.ConfigMap{}, "-key": &core.Secret{}, "": &Keel{}}
	for suffix, object := range gone {
		meta := v.named(suffix)
		err := poll(ctx, meta.Name+" is gone", func() (bool, error) {
			err := v.direct.Get(ctx, client.ObjectKey{Namespace: meta.Namespace, Name: meta.Name}, object)
			return errors.IsNotFound(err), client.IgnoreNotFound(err)
		})
		if err != nil {
			return err
		}
	}
	wreck := v.named("-wreck")
	return v.direct.Get(ctx, client.ObjectKey{Namespace: wreck.Namespace, Name: wreck.Name}, &core.ConfigMap{})
}
