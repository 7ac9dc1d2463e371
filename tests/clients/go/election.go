package main

import (
	"context"
	"fmt"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Election runs two candidates for one Lease: the second leads only after the first has released it.
func election(ctx context.Context, c *cluster) error {
	leads := make(chan string, 10)
	first, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); campaign(first, c, "first", leads) }()
	if err := inOrder(ctx, leads, "first"); err != nil {
		return err
	}
	go campaign(ctx, c, "second", leads)
	select {
	case name := <-leads:
		return fmt.Errorf("%s leads while the first does", name)
	case <-time.After(time.Second):
	}
	stop()
	<-done
	if err := inOrder(ctx, leads, "second"); err != nil {
		return err
	}
	lease, err := c.typed.CoordinationV1().Leases(c.namespace).Get(ctx, "boss", meta.GetOptions{})
	if err != nil {
		return err
	}
	if *lease.Spec.HolderIdentity != "second" || *lease.Spec.LeaseTransitions < 1 {
		return fmt.Errorf("the Lease: %v", lease.Spec)
	}
	return nil
}

func campaign(ctx context.Context, c *cluster, name string, leads chan<- string) {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  meta.ObjectMeta{Name: "boss", Namespace: c.namespace},
		Client:     c.typed.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 6 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: 200 * time.Millisecond, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { leads <- name },
			OnStoppedLeading: func() {},
		},
	})
}
