//! Proxies.

use retail_testbed::{Postgres, Proxy, eventually};

use crate::{client, text};

const SYSTEM: &str = "SELECT system_identifier FROM pg_control_system()";

/// As a virtual IP or a DNS name does after a failover.
#[tokio::test]
async fn proxy_pointed_elsewhere_ends_sessions_and_connects_there() {
    let (first, second) = (Postgres::shared(), Postgres::private());
    let proxy = Proxy::to(&first.address());
    let url = proxy.url(&first.url());
    let before = client(&url).await;
    let system = text(&before, SYSTEM).await;
    proxy.point_to(&second.address());
    eventually("the session ends", async || before.is_closed().then_some(())).await;
    assert_ne!(text(&client(&url).await, SYSTEM).await, system);
    proxy.point_to(&first.address());
    assert_eq!(text(&client(&url).await, SYSTEM).await, system);
}
