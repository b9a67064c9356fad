//! Why certificates are refused.

use std::time::Duration;

use retail_connection::probe::{CertificateFacts, judge};
use retail_connection::{Certificates, Pem};
use retail_testbed::{Authority, Issued};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

fn trusting(authority: &Authority) -> Certificates {
    let pem = Pem { text: authority.certificate(), origin: "ca.crt".to_owned() };
    Certificates::new(Some(pem), None, None).unwrap()
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()]
}

#[test]
fn refused_certificate_is_explained_by_names_authorities_and_dates() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let good = ca.issue("broker", &["broker.shop", "10.0.0.1"]);
    let expired = ca.issue_until("broker", &["broker.shop"], Some((2020, 2, 3)));
    let verdict = |issued: &Issued, host: &str, trusted: &Authority, is_named| {
        judge(&chain(issued), host, &trusting(trusted), is_named).unwrap().map_err(|problem| problem.to_string())
    };
    assert_eq!(verdict(&good, "broker.shop", &ca, true), Ok(()));
    assert_eq!(verdict(&good, "10.0.0.1", &ca, true), Ok(()));
    assert_eq!(verdict(&good, "broker", &ca, false), Ok(()));
    for (issued, trusted, problem) in [
        (&good, &ca, "the certificate is valid for broker.shop, 10.0.0.1, not for broker"),
        (&good, &other, "the certificate is signed by CN=ca, and the trusted authority is CN=other"),
        (&expired, &ca, "the certificate expired at 2020-02-03T00:00:00Z"),
    ] {
        assert_eq!(verdict(issued, "broker", trusted, true), Err(problem.to_owned()));
    }
}

#[test]
fn certificate_expires_with_the_first_of_its_chain() {
    let ca = Authority::new("ca");
    let [late, early] = [(2033, 5, 19), (2033, 5, 18)].map(|end| chain(&ca.issue_until("broker", &["b"], Some(end))));
    let facts = CertificateFacts::of(&[late, early].concat()).unwrap();
    assert_eq!((&*facts.subject, &*facts.issuer, &*facts.not_after), ("CN=broker", "CN=ca", "2033-05-18T00:00:00Z"));
    // 2033-05-18T03:33:20Z is 2,000,000,000 seconds after 1970.
    assert_eq!(facts.remaining(Duration::from_secs(1_999_900_000)), Duration::from_secs(100_000 - 12_800));
    assert_eq!(facts.remaining(Duration::from_secs(2_000_000_000)), Duration::ZERO);
}
