package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/restmapper"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

const sail = "sails.go.example.com"

// Custom defines a kind, finds it by discovery, and writes, watches and removes objects of it with the dynamic client.
func custom(ctx context.Context, c *cluster) error {
	if _, err := c.dynamic.Resource(definitions).Create(ctx, definition(), v1.CreateOptions{}); err != nil {
		return err
	}
	mapping, err := discovered(ctx, c)
	if err != nil {
		return err
	}
	sails := c.dynamic.Resource(mapping.Resource).Namespace(c.namespace)
	if err := written(ctx, sails); err != nil {
		return err
	}
	if err := cached(ctx, c, mapping.Resource); err != nil {
		return err
	}
	if err := sails.Delete(ctx, "main", v1.DeleteOptions{}); err != nil {
		return err
	}
	return c.dynamic.Resource(definitions).Delete(ctx, sail, v1.DeleteOptions{})
}

func definition() *unstructured.Unstructured {
	number := map[string]any{"type": "object", "properties": map[string]any{"area": map[string]any{"type": "integer"}}}
	properties := map[string]any{"spec": number, "status": number}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": sail},
		"spec": map[string]any{
			"group": "go.example.com", "scope": "Namespaced", "names": map[string]any{"plural": "sails", "kind": "Sail"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": properties}},
			}},
		},
	}}
}

// Discovered is the kind's resource, once discovery has it.
func discovered(ctx context.Context, c *cluster) (mapping *meta.RESTMapping, err error) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.typed.Discovery()))
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		mapper.Reset()
		mapping, err = mapper.RESTMapping(schema.GroupKind{Group: "go.example.com", Kind: "Sail"}, "v1")
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		return err == nil, err
	})
	return mapping, err
}

func written(ctx context.Context, sails dynamic.ResourceInterface) error {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "go.example.com/v1", "kind": "Sail", "metadata": map[string]any{"name": "main"},
		"spec": map[string]any{"area": int64(12)},
	}}
	made, err := sails.Create(ctx, object, v1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedField(made.Object, int64(11), "status", "area"); err != nil {
		return err
	}
	if _, err := sails.UpdateStatus(ctx, made, v1.UpdateOptions{}); err != nil {
		return err
	}
	patch := []byte(`{"spec":{"area":13}}`)
	if _, err := sails.Patch(ctx, "main", types.StrategicMergePatchType, patch, v1.PatchOptions{}); !errors.IsUnsupportedMediaType(err) {
		return fmt.Errorf("a strategic merge patch of a custom object: %v", err)
	}
	found, err := sails.Patch(ctx, "main", types.MergePatchType, patch, v1.PatchOptions{})
	if err != nil {
		return err
	}
	spec, _, _ := unstructured.NestedInt64(found.Object, "spec", "area")
	status, _, _ := unstructured.NestedInt64(found.Object, "status", "area")
	if spec != 13 || status != 11 {
		return fmt.Errorf("spec and status are %d and %d", spec, status)
	}
	return nil
}

// Cached reads the object through an informer.
func cached(ctx context.Context, c *cluster, resource schema.GroupVersionResource) error {
	running, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.dynamic, 0, c.namespace, nil)
	lister := factory.ForResource(resource).Lister()
	factory.Start(running.Done())
	factory.WaitForCacheSync(running.Done())
	_, err := lister.ByNamespace(c.namespace).Get("main")
	return err
}
