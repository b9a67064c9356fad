//! TBD
/// x
#[derive(Debug)]
pub struct Proxy;
/// y
#[derive(Debug)]
pub struct Cut;
