//! Connection poolers in front of Postgres.

use std::fs;

use crate::process::unique;
use crate::secure::Certificates;
use crate::servers::{Postgres, Server, directory};

/// A `PgBouncer` in transaction mode: after each transaction, the next one of any client may run in the same session of the
/// server. Dropping the value stops it.
///
/// Its settings are those of docs/how-to/use-a-pooler.md. The users are those of the server, with the same passwords. TLS is off,
/// except for clients of [`Self::with_tls`].
#[derive(Debug)]
pub struct Pooler {
    server: Server,
    database_url: String,
}

impl Pooler {
    /// Starts a pooler with at most `pool_size` sessions for each user and database of a server.
    pub fn to(postgres: &Postgres, pool_size: u32) -> Self {
        Self::with_mode(postgres, pool_size, "transaction")
    }

    /// Starts a pooler with another `pool_mode`.
    pub fn with_mode(postgres: &Postgres, pool_size: u32, mode: &str) -> Self {
        Self::start_to(&postgres.address(), postgres.url(), pool_size, mode, "")
    }

    /// Starts a pooler whose clients must use TLS. Its certificate is `server`.
    pub fn with_tls(postgres: &Postgres, pool_size: u32) -> Self {
        let tls = "client_tls_sslmode = require\nclient_tls_key_file = @DIR@/server.key\nclient_tls_cert_file = @DIR@/server.crt\n";
        Self::start_to(&postgres.address(), postgres.url(), pool_size, "transaction", tls)
    }

    /// Starts a pooler for the server at this host:port, such as that of a proxy. `url` has its log-in.
    pub fn at(address: &str, url: &str, pool_size: u32) -> Self {
        Self::start_to(address, url.to_owned(), pool_size, "transaction", "")
    }

    fn start_to(address: &str, database_url: String, pool_size: u32, mode: &str, more: &str) -> Self {
        let name = unique("pgbouncer");
        let conf = directory().join(&name).join("conf");
        fs::create_dir_all(&conf).unwrap();
        fs::write(conf.join("pgbouncer.ini"), settings(address, pool_size, mode) + more).unwrap();
        for file in ["server.key", "server.crt"] {
            fs::write(conf.join(file), Certificates::shared().text(file)).unwrap();
        }
        fs::write(conf.join("userlist.txt"), "\"retail\" \"retail\"\n\"postgres\" \"postgres\"\n").unwrap();
        Self { server: Server::start("dev/pgbouncer", &name, true), database_url }
    }

    /// Returns the URL of the database `retail` with the address of the pooler.
    pub fn url(&self) -> String {
        let (credentials, database) = (self.database_url.split_once('@').unwrap().0, "retail");
        format!("{credentials}@{}/{database}", self.server.address())
    }

    /// Returns the address as host:port.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Returns the process id, another one after each start.
    pub fn pid(&self) -> u32 {
        let pid = fs::read_to_string(self.server.directory.join("data/pid")).unwrap();
        pid.trim().parse().unwrap()
    }

    /// Ends all sessions and the pooler.
    pub fn stop(&self) {
        self.server.run("down");
    }

    /// Starts the pooler again, at the same address.
    pub fn start(&self) {
        self.server.run("up");
    }
}

/// The guide whose configuration is tested.
const GUIDE: &str = include_str!("../../../docs/how-to/use-a-pooler.md");

/// Returns the configuration of the guide with the addresses, files and pool size of a test.
fn settings(server: &str, pool_size: u32, mode: &str) -> String {
    let (host, port) = server.split_once(':').unwrap();
    let documented = GUIDE.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let settings = [
        ("host=postgres port=5432", &*format!("host={host} port={port}")),
        ("listen_addr = *", "listen_addr = 127.0.0.1"),
        ("listen_port = 6432", "listen_port = @PORT@"),
        ("/etc/pgbouncer/userlist.txt", "@DIR@/userlist.txt"),
        ("pool_mode = transaction", &*format!("pool_mode = {mode}")),
        ("default_pool_size = 20", &*format!("default_pool_size = {pool_size}")),
    ];
    let settings = settings.into_iter().fold(documented.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the guide has no setting {from}");
        text.replace(from, to)
    });
    settings + "unix_socket_dir =\npidfile = @DIR@/pid\n"
}
