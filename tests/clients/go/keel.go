package main

import (
	"k8s.io/apimachinery/pkg/api/meta"
	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgo "k8s.io/client-go/kubernetes/scheme"
)

const keels = "keels.go.example.com"

var keelVersion = schema.GroupVersion{Group: "go.example.com", Version: "v1"}

// Keel is a kind of our own as controllers have theirs: a Go type, a status with conditions.
type Keel struct {
	v1.TypeMeta   `json:",inline"`
	v1.ObjectMeta `json:"metadata,omitempty"`

	Spec   KeelSpec   `json:"spec"`
	Status KeelStatus `json:"status,omitempty"`
}

type KeelSpec struct {
	Length int64 `json:"length"`
}

type KeelStatus struct {
	Laid       int64          `json:"laid,omitempty"`
	Conditions []v1.Condition `json:"conditions,omitempty"`
}

type KeelList struct {
	v1.TypeMeta `json:",inline"`
	v1.ListMeta `json:"metadata,omitempty"`
	Items       []Keel `json:"items"`
}

func (k *Keel) copied() Keel {
	out := *k
	k.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Status.Conditions = append([]v1.Condition(nil), k.Status.Conditions...)
	return out
}

func (k *Keel) DeepCopyObject() runtime.Object {
	out := k.copied()
	return &out
}

func (l *KeelList) DeepCopyObject() runtime.Object {
	out := *l
	out.Items = nil
	for index := range l.Items {
		out.Items = append(out.Items, l.Items[index].copied())
	}
	return &out
}

// KnownTypes are those of client-go, and Keel.
func knownTypes() *runtime.Scheme {
	scheme := runtime.NewScheme()
	_ = clientgo.AddToScheme(scheme)
	scheme.AddKnownTypes(keelVersion, &Keel{}, &KeelList{})
	v1.AddToGroupVersion(scheme, keelVersion)
	return scheme
}

func keelDefinition() *unstructured.Unstructured {
	number := func(field string, more map[string]any) map[string]any {
		properties := map[string]any{field: map[string]any{"type": "integer"}}
		for key, value := range more {
			properties[key] = value
		}
		return map[string]any{"type": "object", "properties": properties}
	}
	condition := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	conditions := map[string]any{"conditions": map[string]any{"type": "array", "items": condition}}
	properties := map[string]any{"spec": number("length", nil), "status": number("laid", conditions)}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": keels},
		"spec": map[string]any{
			"group": keelVersion.Group, "scope": "Namespaced", "names": map[string]any{"plural": "keels", "kind": "Keel"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": properties}},
			}},
		},
	}}
}

func isLaid(k *Keel) bool {
	return k.Status.Laid == k.Spec.Length && meta.IsStatusConditionTrue(k.Status.Conditions, "Laid")
}
