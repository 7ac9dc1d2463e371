package main

import (
	"context"
	"fmt"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applied "k8s.io/client-go/applyconfigurations/core/v1"
	owner "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const finalizer = "go.example.com/wreck"

// Yard lays keels: each has a plan, a ConfigMap that is applied, and a key, a Secret that is created or updated. One that is
// deleted leaves a wreck.
type yard struct {
	client.Client
	// Of events.k8s.io/v1, and of core/v1.
	events events.EventRecorder
	older  record.EventRecorder
}

func (y *yard) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	keel := &Keel{}
	if err := y.Get(ctx, request.NamespacedName, keel); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !keel.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, y.wreck(ctx, keel)
	}
	if controllerutil.AddFinalizer(keel, finalizer) {
		return reconcile.Result{}, y.Update(ctx, keel)
	}
	for _, step := range []func(context.Context, *Keel) error{y.plan, y.key, y.report} {
		if err := step(ctx, keel); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{}, nil
}

// Plan is by Server-Side Apply.
func (y *yard) plan(ctx context.Context, keel *Keel) error {
	owned := owner.OwnerReference().WithAPIVersion(keelVersion.String()).WithKind("Keel").WithName(keel.Name).WithUID(keel.UID).
		WithController(true).WithBlockOwnerDeletion(true)
	plan := applied.ConfigMap(keel.Name+"-plan", keel.Namespace).WithOwnerReferences(owned).
		WithLabels(map[string]string{"keel": keel.Name}).WithData(map[string]string{"length": fmt.Sprint(keel.Spec.Length)})
	return y.Apply(ctx, plan, client.ForceOwnership, client.FieldOwner("yard"))
}

func (y *yard) key(ctx context.Context, keel *Keel) error {
	secret := &core.Secret{ObjectMeta: v1.ObjectMeta{Name: keel.Name + "-key", Namespace: keel.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, y, secret, func() error {
		secret.Data = map[string][]byte{"key": []byte(keel.Name)}
		return controllerutil.SetControllerReference(keel, secret, y.Scheme())
	})
	return err
}

// Report patches the status, with the resourceVersion that was read.
func (y *yard) report(ctx context.Context, keel *Keel) error {
	if isLaid(keel) {
		return nil
	}
	before := keel.copied()
	keel.Status.Laid = keel.Spec.Length
	meta.SetStatusCondition(&keel.Status.Conditions, v1.Condition{
		Type: "Laid", Status: v1.ConditionTrue, Reason: "Done", ObservedGeneration: keel.Generation,
	})
	if err := y.Status().Patch(ctx, keel, client.MergeFromWithOptions(&before, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	// Twice of the same object: the recorder patches a series into the event.
	for range 2 {
		y.events.Eventf(keel, nil, core.EventTypeNormal, "Laid", "Lay", "A keel of %d", keel.Spec.Length)
	}
	y.older.Eventf(keel, core.EventTypeNormal, "Reported", "A keel of %d", keel.Spec.Length)
	return nil
}

func (y *yard) wreck(ctx context.Context, keel *Keel) error {
	if !controllerutil.ContainsFinalizer(keel, finalizer) {
		return nil
	}
	left := &core.ConfigMap{ObjectMeta: v1.ObjectMeta{Name: keel.Name + "-wreck", Namespace: keel.Namespace}}
	if err := client.IgnoreAlreadyExists(y.Create(ctx, left)); err != nil {
		return err
	}
	before := keel.copied()
	controllerutil.RemoveFinalizer(keel, finalizer)
	return y.Patch(ctx, keel, client.MergeFrom(&before))
}
