//! Schema registries.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::process::unique;
use crate::servers::Server;

/// Time for which a request without an answer is repeated, and the pause before each repetition.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// An Apicurio Registry. Dropping a private one stops it and deletes its schemas.
#[derive(Debug)]
pub struct Registry {
    server: Server,
}

impl Registry {
    /// Returns the registry shared by all tests that need none of their own. Subjects must be unique.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Registry> = OnceLock::new();
        SHARED.get_or_init(|| Self { server: Server::start("dev/registry", "registry", false) })
    }

    /// Starts a registry for one test.
    pub fn private() -> Self {
        Self { server: Server::start("dev/registry", &unique("registry"), true) }
    }

    /// Returns the URL for `registry.url`.
    pub fn url(&self) -> String {
        self.server.address()
    }

    /// Returns the address as host:port.
    pub fn address(&self) -> String {
        self.url().split('/').nth(2).unwrap().to_owned()
    }

    /// Shuts the registry down. Its schemas stay.
    pub fn stop(&self) {
        self.server.run("down");
    }

    /// Kills the registry, like a power failure. Its schemas stay.
    pub fn kill(&self) {
        self.server.kill("pid");
    }

    /// Starts the registry again, at the same address.
    pub fn start(&self) {
        self.server.run("up");
    }

    /// Deletes all schemas of a stopped registry.
    pub fn forget(&self) {
        std::fs::remove_dir_all(self.server.directory.join("data")).unwrap();
    }

    /// Whether the registry has a schema with this id.
    pub fn knows(&self, id: u32) -> bool {
        self.request("GET", &format!("schemas/ids/{id}"), "").contains("\"schema\"")
    }

    /// Registers a schema of this type (`AVRO`, `PROTOBUF`, `JSON`) under a subject. Returns its id.
    ///
    /// # Panics
    ///
    /// If the registry refuses the schema.
    pub fn register_as(&self, kind: &str, subject: &str, schema: &str) -> u32 {
        let quoted = format!("{schema:?}").replace("\\'", "'");
        let body = format!("{{\"schemaType\": \"{kind}\", \"schema\": {quoted}}}");
        let path = format!("subjects/{subject}/versions");
        // On a busy machine, a registry that has just started closes a connection without an answer. A schema that is registered twice
        // keeps its id.
        let started = Instant::now();
        let mut answer = self.request("POST", &path, &body);
        while answer.is_empty() && started.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            answer = self.request("POST", &path, &body);
        }
        let id = answer
            .rsplit_once("\"id\":")
            .and_then(|(_, id)| id.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok());
        id.unwrap_or_else(|| panic!("{answer}"))
    }

    /// Sends a request for a path below the URL. Returns the answer with its headers.
    fn request(&self, method: &str, path: &str, body: &str) -> String {
        let root = self.url().split_once("//").unwrap().1.split_once('/').unwrap().1.to_owned();
        let mut stream = TcpStream::connect(self.address()).unwrap();
        let head = format!(
            "{method} /{root}/{path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}
