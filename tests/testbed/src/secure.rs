//! Servers that require TLS and authentication, and the certificates for servers and clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::authority::{Authority, Issued};
use crate::process::unique;
use crate::servers::{Kafka, Postgres, directory, free_port};

/// Certificates in files NAME.crt and NAME.key, for servers also NAME.pem with both. `ca` and `stranger` are authorities.
/// `server` is valid for 127.0.0.1 and localhost, `localhost` for localhost only, `misnamed` for another host. `certified` is a
/// client certificate; `forged` has the same name and is issued by `stranger`.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Returns the certificates shared by all tests. The first call creates them.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(|| {
            let place = directory().join("certificates");
            if !place.exists() {
                let made = directory().join(unique("certificates"));
                fs::create_dir(&made).unwrap();
                make(&made);
                // Another test process may have created the directory first.
                if fs::rename(&made, &place).is_err() {
                    fs::remove_dir_all(&made).unwrap();
                }
            }
            Self { directory: place }
        })
    }

    /// Returns the path of a file.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Returns the content of a file.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn make(directory: &Path) {
    let (ca, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let write = |file: &str, text: &str| fs::write(directory.join(file), text).unwrap();
    write("ca.crt", &ca.certificate());
    write("stranger.crt", &stranger.certificate());
    let issue = |by: &Authority, name: &str, common_name: &str, hosts: &[&str]| {
        let Issued { certificate, key } = by.issue(common_name, hosts);
        write(&format!("{name}.crt"), &certificate);
        write(&format!("{name}.key"), &key);
        write(&format!("{name}.pem"), &(key + &certificate));
    };
    issue(&ca, "server", "server", &["127.0.0.1", "localhost"]);
    issue(&ca, "localhost", "localhost", &["localhost"]);
    issue(&ca, "misnamed", "misnamed", &["elsewhere.example"]);
    issue(&ca, "certified", "certified", &[]);
    issue(&stranger, "forged", "certified", &[]);
}

/// A broker without a plaintext listener. The user `retail` has the password `scram-secret` for SCRAM-SHA-512 and
/// `plain-secret` for PLAIN.
#[derive(Debug)]
pub struct SecureKafka {
    kafka: Kafka,
    certified: u16,
    misnamed: u16,
}

impl SecureKafka {
    /// Returns the broker shared by all tests.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<SecureKafka> = OnceLock::new();
        SHARED.get_or_init(|| {
            let home = directory().join("kafka-tls");
            fs::create_dir_all(&home).unwrap();
            // The ports stay the same when the broker restarts.
            let ports = home.join("other-ports");
            if !ports.exists() {
                fs::write(&ports, format!("{} {}", free_port(), free_port())).unwrap();
            }
            let ports = fs::read_to_string(ports).unwrap();
            let (certified, misnamed) = ports.split_once(' ').unwrap();
            let certificates = &Certificates::shared().directory;
            fs::write(home.join("extra.properties"), properties(certified, misnamed, certificates)).unwrap();
            fs::write(home.join("scram"), "SCRAM-SHA-512=[name=retail,password=scram-secret]\n").unwrap();
            let (certified, misnamed) = (certified.parse().unwrap(), misnamed.parse().unwrap());
            Self { kafka: Kafka::named("kafka-tls"), certified, misnamed }
        })
    }

    /// Returns the address of the SASL_SSL listener.
    pub fn address(&self) -> String {
        self.kafka.address()
    }

    /// Returns the address of the listener that requires a client certificate of `ca`.
    pub fn certified(&self) -> String {
        format!("127.0.0.1:{}", self.certified)
    }

    /// Returns the address of the listener with a certificate for another host.
    pub fn misnamed(&self) -> String {
        format!("127.0.0.1:{}", self.misnamed)
    }
}

fn properties(certified: &str, misnamed: &str, certificates: &Path) -> String {
    let listeners =
        format!("SASL_SSL://127.0.0.1:@PORT@,CERTIFIED://127.0.0.1:{certified},MISNAMED://127.0.0.1:{misnamed}");
    let certificates = certificates.display();
    format!(
        "listeners={listeners},CONTROLLER://127.0.0.1:@CONTROLLER@
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,CERTIFIED:SSL,MISNAMED:SSL
inter.broker.listener.name=SASL_SSL
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username=\"broker\" password=\"broker-secret\" user_broker=\"broker-secret\" user_retail=\"plain-secret\";
ssl.keystore.type=PEM
ssl.keystore.location={certificates}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={certificates}/ca.crt
listener.name.certified.ssl.client.auth=required
listener.name.misnamed.ssl.keystore.type=PEM
listener.name.misnamed.ssl.keystore.location={certificates}/misnamed.pem
"
    )
}

/// A server that requires TLS. Its certificate is valid for localhost, not for 127.0.0.1. The user `retail` logs in with a
/// password. The user `certified` has the same rights, and needs the password `certified` and a client certificate.
///
/// The users `clear`, `hashed`, `scrambled` and `trusted` can also log in without TLS: with their name as the password in clear
/// text, with MD5, with SCRAM, and without a password.
#[derive(Debug)]
pub struct SecurePostgres {
    postgres: Postgres,
}

impl SecurePostgres {
    /// Returns the server shared by all tests.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<SecurePostgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            let conf = directory().join("postgres-secure/conf");
            fs::create_dir_all(&conf).unwrap();
            let certificates = Certificates::shared();
            for (from, to) in [("localhost.crt", "server.crt"), ("localhost.key", "server.key"), ("ca.crt", "ca.crt")] {
                fs::write(conf.join(to), certificates.text(from)).unwrap();
            }
            let settings = "ssl = on\nssl_ca_file = 'ca.crt'\n";
            fs::write(conf.join("extra.conf"), settings).unwrap();
            let rules = "hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n\
                         host all clear 127.0.0.1/32 password\n\
                         host all hashed 127.0.0.1/32 md5\n\
                         host all scrambled 127.0.0.1/32 scram-sha-256\n\
                         host all trusted 127.0.0.1/32 trust\n\
                         hostssl all all 127.0.0.1/32 scram-sha-256\n";
            fs::write(conf.join("pg_hba.conf"), rules).unwrap();
            fs::write(conf.join("roles.sql"), ROLES).unwrap();
            Self { postgres: Postgres::named("postgres-secure") }
        })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.postgres.address().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Returns a URL of the database `retail` with the given user, password and host.
    pub fn url(&self, user: &str, password: &str, host: &str) -> String {
        format!("postgres://{user}:{password}@{host}:{}/retail", self.port())
    }
}

/// Statements that run once, when the database is created.
const ROLES: &str = "
    CREATE ROLE certified LOGIN PASSWORD 'certified';
    GRANT CREATE ON DATABASE retail TO certified;
    CREATE ROLE clear LOGIN PASSWORD 'clear';
    CREATE ROLE scrambled LOGIN PASSWORD 'scrambled';
    CREATE ROLE trusted LOGIN;
    SET password_encryption = 'md5';
    CREATE ROLE hashed LOGIN PASSWORD 'hashed';
";
