//! The CRD file.

use std::path::Path;

use kube::CustomResourceExt;
use retail_api::resource::RetailPipeline;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

#[test]
fn crd_files_match_the_types() {
    for file in ["crds/retailpipelines.retailpipeline.dev.yaml", "charts/retail-pipeline/files/crd.yaml"] {
        let text = std::fs::read_to_string(repository().join(file)).unwrap_or_default();
        assert!(text == retail_api::crd::yaml(), "{file} is stale: run `make crds`");
    }
}

/// The pod templates took it over 64 KB. Client-side `kubectl apply` stores the whole text in an annotation of at most 256 KB.
#[test]
fn crd_is_smaller_than_128_kb() {
    assert!(retail_api::crd::yaml().len() < 128 * 1024);
}

#[test]
fn crd_patterns_compile_and_strings_are_bounded() {
    fn visit(path: &str, schema: &serde_json::Value) {
        if schema["type"] == "string" && schema["enum"].is_null() {
            assert!(schema["maxLength"].is_u64(), "{path} has no bound");
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            regex::Regex::new(pattern).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        if schema["type"] == "array" {
            assert!(schema["maxItems"].is_u64(), "{path} has no bound");
            visit(&format!("{path}[]"), &schema["items"]);
        }
        if !schema["additionalProperties"].is_null() {
            assert!(schema["maxProperties"].is_u64(), "{path} has no bound");
            visit(&format!("{path}[]"), &schema["additionalProperties"]);
        }
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            visit(&format!("{path}.{name}"), child);
        }
    }
    let crd = serde_json::to_value(RetailPipeline::crd()).unwrap();
    visit("spec", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]);
}

#[test]
fn example_files_are_valid() {
    for entry in std::fs::read_dir(repository().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        retail_api::Pipeline::read(&path).unwrap_or_else(|error| panic!("{error}"));
    }
}
