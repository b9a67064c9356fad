//! Texts that are not certificates, and keys of other certificates.

use retail_connection::{CertificateError, Certificates, Pem};
use retail_testbed::Certificates as Files;

fn pem(name: &str) -> Option<Pem> {
    Some(Pem { text: Files::shared().text(name), origin: name.to_owned() })
}

#[test]
fn invalid_certificates_and_foreign_keys_are_rejected() {
    let text = |text: &str| Some(Pem { text: text.to_owned(), origin: "here".to_owned() });
    let refused = |ca, certificate, key| Certificates::new(ca, certificate, key).unwrap_err();
    assert!(matches!(refused(text("hello"), None, None), CertificateError::NoCertificate(_)));
    assert!(matches!(refused(None, pem("certified.crt"), None), CertificateError::Half(..)));
    assert!(matches!(refused(None, pem("certified.crt"), text("hello")), CertificateError::NoKey(_)));
    assert!(matches!(refused(None, pem("certified.crt"), pem("forged.key")), CertificateError::Mismatch(..)));
}
