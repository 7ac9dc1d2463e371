package main

import (
	"context"
	"fmt"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"k8s.io/kube-openapi/pkg/util/proto"
)

// Openapi reads the document of OpenAPI v2 in protobuf, as kubectl up to 1.26 does, and what patches are built from.
func openapi(_ context.Context, c *cluster) error {
	document, err := c.typed.Discovery().OpenAPISchema()
	if err != nil {
		return err
	}
	models, err := proto.NewOpenAPIData(document)
	if err != nil {
		return err
	}
	spec, ok := models.LookupModel("io.k8s.api.core.v1.PodSpec").(*proto.Kind)
	if !ok {
		return fmt.Errorf("there is no PodSpec")
	}
	found := spec.Fields["containers"].GetExtensions()
	if found["x-kubernetes-patch-merge-key"] != "name" || found["x-kubernetes-patch-strategy"] != "merge" {
		return fmt.Errorf("containers: %v", found)
	}
	for _, path := range document.GetPaths().GetPath() {
		if path.GetName() == "/api/v1/namespaces/{namespace}/pods/{name}" {
			return validated(path.GetValue().GetPatch())
		}
	}
	return fmt.Errorf("pods have no path")
}

// Validated fails for a patch that the server does not say to validate: kubectl would then do it by itself.
func validated(patch *openapi_v2.Operation) error {
	for _, item := range patch.GetParameters() {
		if item.GetParameter().GetNonBodyParameter().GetQueryParameterSubSchema().GetName() == "fieldValidation" {
			return nil
		}
	}
	return fmt.Errorf("patches have no fieldValidation")
}
