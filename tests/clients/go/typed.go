package main

import (
	"context"
	"fmt"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"
)

// Typed runs a pod and a config map from creation to deletion with the typed client, in protobuf.
func typed(ctx context.Context, c *cluster) error {
	if err := mapsAreWritten(ctx, c); err != nil {
		return err
	}
	return podRuns(ctx, c)
}

func mapsAreWritten(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	wanted := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: "one"}, Data: map[string]string{"k": "1"}}
	made, err := maps.Create(ctx, wanted, meta.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := maps.Create(ctx, wanted, meta.CreateOptions{}); !errors.IsAlreadyExists(err) {
		return fmt.Errorf("a second create: %v", err)
	}
	if _, err := maps.Patch(ctx, "one", types.MergePatchType, []byte(`{"data":{"j":"x"}}`), meta.PatchOptions{}); err != nil {
		return err
	}
	made.Data["k"] = "2"
	if _, err := maps.Update(ctx, made, meta.UpdateOptions{}); !errors.IsConflict(err) {
		return fmt.Errorf("an update of an old version: %v", err)
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		found, err := maps.Get(ctx, "one", meta.GetOptions{})
		if err != nil {
			return err
		}
		found.Data["k"] = "2"
		_, err = maps.Update(ctx, found, meta.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	found, err := maps.Get(ctx, "one", meta.GetOptions{})
	if err != nil || found.Data["k"] != "2" || found.Data["j"] != "x" {
		return fmt.Errorf("after both writes: %v, %v", found, err)
	}
	if err := maps.DeleteCollection(ctx, meta.DeleteOptions{}, meta.ListOptions{FieldSelector: "metadata.name=one"}); err != nil {
		return err
	}
	if _, err := maps.Get(ctx, "one", meta.GetOptions{}); !errors.IsNotFound(err) {
		return fmt.Errorf("after its deletion: %v", err)
	}
	return nil
}

func podRuns(ctx context.Context, c *cluster) error {
	pods := c.typed.CoreV1().Pods(c.namespace)
	pod := &core.Pod{ObjectMeta: meta.ObjectMeta{GenerateName: "web-"}}
	pod.Spec.Containers = []core.Container{{
		Name: "main", Image: "busybox", ImagePullPolicy: core.PullNever, Command: []string{"sh", "-c", "echo hello; exec sleep 1000"},
	}}
	pod.Spec.TerminationGracePeriodSeconds = new(int64)
	made, err := pods.Create(ctx, pod, meta.CreateOptions{})
	if err != nil {
		return err
	}
	options := meta.ListOptions{FieldSelector: "metadata.name=" + made.Name, ResourceVersion: made.ResourceVersion}
	events, err := pods.Watch(ctx, options)
	if err != nil {
		return err
	}
	defer events.Stop()
	if err := until(events, func(event watch.Event, pod *core.Pod) bool { return pod.Status.Phase == core.PodRunning }); err != nil {
		return err
	}
	logs, err := pods.GetLogs(made.Name, &core.PodLogOptions{}).DoRaw(ctx)
	if err != nil || string(logs) != "hello\n" {
		return fmt.Errorf("logs: %q, %v", logs, err)
	}
	if err := pods.Delete(ctx, made.Name, *meta.NewPreconditionDeleteOptions(string(made.UID))); err != nil {
		return err
	}
	return until(events, func(event watch.Event, _ *core.Pod) bool { return event.Type == watch.Deleted })
}

// Until reads events of pods until one fits; an error once the watch ends before.
func until(events watch.Interface, fits func(watch.Event, *core.Pod) bool) error {
	for event := range events.ResultChan() {
		pod, ok := event.Object.(*core.Pod)
		if !ok {
			return fmt.Errorf("an event %s of %v", event.Type, event.Object)
		}
		if fits(event, pod) {
			return nil
		}
	}
	return fmt.Errorf("the watch ended")
}
