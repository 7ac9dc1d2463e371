package main

import (
	"context"
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Leadership runs two managers with leader election: what the second runs starts when the first has ended.
func leadership(ctx context.Context, c *cluster) error {
	ctrl.SetLogger(klog.NewKlogr())
	leads := make(chan string, 10)
	first, stop := context.WithCancel(ctx)
	defer stop()
	ended, err := elected(first, c, "first", leads)
	if err != nil {
		return err
	}
	if err := inOrder(ctx, leads, "first"); err != nil {
		return err
	}
	second, end := context.WithCancel(ctx)
	defer end()
	last, err := elected(second, c, "second", leads)
	if err != nil {
		return err
	}
	select {
	case name := <-leads:
		return fmt.Errorf("%s leads while the first does", name)
	case <-time.After(time.Second):
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	if err := inOrder(ctx, leads, "second"); err != nil {
		return err
	}
	end()
	if err := <-last; err != nil {
		return err
	}
	return announced(ctx, c)
}

// Elected starts a manager whose only part runs while it leads.
func elected(ctx context.Context, c *cluster, name string, leads chan<- string) (<-chan error, error) {
	options := options(c)
	lease, renew, retry := 15*time.Second, 10*time.Second, 200*time.Millisecond
	options.LeaderElection, options.LeaderElectionID, options.LeaderElectionNamespace = true, "yard", c.namespace
	options.LeaderElectionReleaseOnCancel = true
	options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = &lease, &renew, &retry
	made, err := ctrl.NewManager(c.config, options)
	if err != nil {
		return nil, err
	}
	work := manager.RunnableFunc(func(ctx context.Context) error { leads <- name; <-ctx.Done(); return nil })
	if err := made.Add(work); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- made.Start(ctx) }()
	return ended, nil
}

// Announced waits for the events that say who leads.
func announced(ctx context.Context, c *cluster) error {
	direct, err := client.New(c.config, client.Options{Scheme: knownTypes()})
	if err != nil {
		return err
	}
	return poll(ctx, "events say who leads", func() (bool, error) {
		found := &core.EventList{}
		wanted := client.MatchingFields{"involvedObject.kind": "Lease", "reason": "LeaderElection"}
		err := direct.List(ctx, found, client.InNamespace(c.namespace), wanted)
		return len(found.Items) > 0, err
	})
}
