//! Certificates of a registry.

use std::sync::Arc;

use retail_connection::{Certificates, ErrorKind, Pem};
use retail_registry::{Registry, RegistryError};
use retail_testbed::{Authority, Issued};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::fake::{Fake, json, registry_with};

async fn secure(Issued { certificate, key }: Issued) -> Fake {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Fake::start_with(Some(TlsAcceptor::from(Arc::new(config))), |_| json("[]")).await
}

fn trusting(authority: &Authority, url: &str) -> Registry {
    let ca = Pem { text: authority.certificate(), origin: "a test".to_owned() };
    registry_with(url, None, Certificates::new(Some(ca), None, None).unwrap())
}

#[track_caller]
fn assert_no_tls(error: &RegistryError, part: &str) {
    assert_eq!(error.kind, ErrorKind::NoTls, "{error}");
    assert!(error.message.contains(part), "{error}");
}

#[tokio::test]
async fn certificate_must_be_of_the_authority_and_of_the_host() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let fake = secure(ours.issue("registry", &["127.0.0.1", "localhost"])).await;
    for host in ["127.0.0.1", "localhost"] {
        trusting(&ours, &format!("https://{host}:{}", fake.port)).check().await.unwrap();
    }
    let url = format!("https://127.0.0.1:{}", fake.port);
    let untrusted = trusting(&other, &url).check().await.unwrap_err();
    assert_no_tls(
        &untrusted,
        "a certificate that is not trusted or is for another host: check events.format.registry.tls",
    );
    let fake = secure(ours.issue("registry", &["registry.example"])).await;
    let other_host = trusting(&ours, &format!("https://127.0.0.1:{}", fake.port)).check().await.unwrap_err();
    assert_no_tls(&other_host, "for another host");
}

#[tokio::test]
async fn tls_on_one_side_only_is_an_error() {
    let ours = Authority::new("ours");
    let plain = Fake::start(|_| json("[]")).await;
    let error = trusting(&ours, &format!("https://127.0.0.1:{}", plain.port)).check().await.unwrap_err();
    // The head of a request that a server waits for never comes.
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    let secure = secure(ours.issue("registry", &["127.0.0.1"])).await;
    let error = trusting(&ours, &secure.url()).check().await.unwrap_err();
    assert!(error.message.contains("use https:// if it requires TLS"), "{error}");
}
