package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	core "k8s.io/client-go/applyconfigurations/core/v1"
)

// Apply owns fields by Server-Side Apply: two managers, a conflict, force, and what is given up.
func apply(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	wanted := func(data map[string]string) *core.ConfigMapApplyConfiguration {
		return core.ConfigMap("shared", c.namespace).WithData(data)
	}
	one := meta.ApplyOptions{FieldManager: "one"}
	if _, err := maps.Apply(ctx, wanted(map[string]string{"a": "1", "b": "1"}), one); err != nil {
		return err
	}
	two := meta.ApplyOptions{FieldManager: "two"}
	if _, err := maps.Apply(ctx, wanted(map[string]string{"a": "2"}), two); !errors.IsConflict(err) {
		return fmt.Errorf("an apply of another's field: %v", err)
	}
	two.Force = true
	if _, err := maps.Apply(ctx, wanted(map[string]string{"a": "2"}), two); err != nil {
		return err
	}
	found, err := maps.Apply(ctx, wanted(nil), one)
	if err != nil {
		return err
	}
	if len(found.Data) != 1 || found.Data["a"] != "2" {
		return fmt.Errorf("the data is %v", found.Data)
	}
	mine, err := core.ExtractConfigMap(found, "two")
	if err != nil || mine.Data["a"] != "2" {
		return fmt.Errorf("what two owns: %v, %v", mine, err)
	}
	return nil
}
