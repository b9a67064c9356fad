//! Values of dimensions, chosen by their names: those of the shop's catalogue where the name fits, otherwise numbered ones.

use retail_engine::Path;

use super::sample::Sample;
use crate::catalogue::{CATEGORIES, PAYMENT_METHODS};

/// Number of values of a dimension whose name says nothing.
const VALUES: usize = 5;

/// At least one and at most 32 values of a dimension.
pub(super) fn values(name: &str, path: &Path) -> Vec<Sample> {
    let field = path.names.last().map_or("", |name| name);
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word) || field.to_lowercase().contains(word));
    let texts = |texts: Vec<&str>| texts.into_iter().map(|text| Sample::Text(text.into())).collect();
    let products = || CATEGORIES.iter().flat_map(|category| category.products);
    if says(&["category"]) {
        texts(CATEGORIES.iter().map(|category| category.name).collect())
    } else if says(&["payment", "method", "tender"]) {
        texts(PAYMENT_METHODS.to_vec())
    } else if says(&["brand", "vendor"]) {
        texts(products().map(|product| product.brand).collect())
    } else if says(&["sku"]) {
        (1..=products().count()).map(|number| Sample::Text(format!("SKU-{number:03}").into())).collect()
    } else if says(&["product", "item"]) {
        texts(products().map(|product| product.name).collect())
    } else if says(&["channel"]) {
        texts(vec!["web", "app", "store"])
    } else if says(&["country"]) {
        texts(vec!["ID", "MY", "SG", "TH"])
    } else if says(&["currency"]) {
        texts(vec!["USD", "EUR"])
    } else if field == "id" || says(&["store", "shop", "branch", "till", "number"]) {
        (1..=VALUES).map(|number| Sample::Number(number.to_string().into())).collect()
    } else {
        (1..=VALUES).map(|number| Sample::Text(format!("{name} {number}").into())).collect()
    }
}
