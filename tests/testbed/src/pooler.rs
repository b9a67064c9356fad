//! Connection poolers in front of Postgres.

use std::fs;

use crate::process::unique;
use crate::servers::{Postgres, Server, directory};

/// A `PgBouncer` in transaction mode: after each transaction, the next one of any client may run in the same session of the
/// server. Dropping the value stops it.
///
/// All settings except those below have their defaults. The users are those of the server, with the same passwords.
#[derive(Debug)]
pub struct Pooler {
    server: Server,
    database_url: String,
}

impl Pooler {
    /// Starts a pooler with at most `pool_size` sessions for each user and database of a server.
    pub fn to(postgres: &Postgres, pool_size: u32) -> Self {
        let name = unique("pgbouncer");
        let conf = directory().join(&name).join("conf");
        fs::create_dir_all(&conf).unwrap();
        fs::write(conf.join("pgbouncer.ini"), settings(&postgres.address(), pool_size)).unwrap();
        fs::write(conf.join("userlist.txt"), "\"retail\" \"retail\"\n\"postgres\" \"postgres\"\n").unwrap();
        Self { server: Server::start("dev/pgbouncer", &name, true), database_url: postgres.url() }
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

    /// Ends all sessions and the pooler.
    pub fn stop(&self) {
        self.server.run("down");
    }

    /// Starts the pooler again, at the same address.
    pub fn start(&self) {
        self.server.run("up");
    }
}

/// TLS is off on both sides. `*` stands for every database of the server.
fn settings(server: &str, pool_size: u32) -> String {
    let (host, port) = server.split_once(':').unwrap();
    format!(
        "[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
pidfile = @DIR@/pid
auth_type = scram-sha-256
auth_file = @DIR@/userlist.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 1000
"
    )
}
