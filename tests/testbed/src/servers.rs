//! Kafka and Postgres servers, started by the scripts in `dev/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::{signal, unique};

/// A Kafka broker.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
}

/// A Postgres server.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
}

#[derive(Debug)]
struct Server {
    script: &'static str,
    directory: PathBuf,
    address: OnceLock<String>,
    private: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Returns the directory for files of tests.
pub(crate) fn directory() -> PathBuf {
    let directory = root().join(".dev/test");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

impl Kafka {
    /// Returns the broker shared by all tests.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Self::named("kafka"))
    }

    /// Starts a shared broker in a directory with this name.
    pub(crate) fn named(name: &str) -> Self {
        Self { server: Server::start("dev/kafka", name, false) }
    }

    /// Starts a broker for one test. Dropping the value stops it and deletes its data.
    pub fn private() -> Self {
        Self::private_with("")
    }

    /// Starts a private broker with additional lines in its server.properties.
    pub fn private_with(properties: &str) -> Self {
        let name = unique("kafka");
        let directory = directory().join(&name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("extra.properties"), properties).unwrap();
        Self { server: Server::start("dev/kafka", &name, true) }
    }

    /// Returns the address as host:port.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Kills the server, like a power failure. The data stays.
    pub fn kill(&self) {
        self.server.kill("pid");
    }

    /// Shuts the server down. The data stays.
    pub fn stop(&self) {
        self.server.run("down");
    }

    /// Starts the server again, at the same address.
    pub fn start(&self) {
        self.server.run("up");
    }
}

impl Postgres {
    /// Returns the server shared by all tests.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::named("postgres"))
    }

    /// Starts a shared server in a directory with this name.
    pub(crate) fn named(name: &str) -> Self {
        Self { server: Server::start("dev/postgres", name, false) }
    }

    /// Starts a server for one test. Dropping the value stops it and deletes its data.
    pub fn private() -> Self {
        Self { server: Server::start("dev/postgres", &unique("postgres"), true) }
    }

    /// Returns the URL of the database `retail`, with the log-in of its owner, an ordinary user.
    pub fn url(&self) -> String {
        self.server.address()
    }

    /// Returns the URL of the database `retail`, with the log-in of the superuser.
    pub fn superuser_url(&self) -> String {
        self.url().replace("retail:retail@", "postgres:postgres@")
    }

    /// Returns the id of the system user that runs the server.
    pub fn user_id(&self) -> u32 {
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(self.server.directory.join("data")).unwrap())
    }

    /// Returns the address as host:port.
    pub fn address(&self) -> String {
        let url = self.url();
        url.split(['@', '/']).nth(3).unwrap().to_owned()
    }

    /// Kills the server, like a power failure. The data stays.
    pub fn kill(&self) {
        // Its child processes end when they notice. A new server waits for them.
        self.server.kill("data/postmaster.pid");
    }

    /// Shuts the server down. The data stays.
    pub fn stop(&self) {
        self.server.run("down");
    }

    /// Starts the server again, at the same address.
    pub fn start(&self) {
        self.server.run("up");
    }
}

impl Server {
    fn start(script: &'static str, name: &str, private: bool) -> Self {
        let server = Self { script, directory: directory().join(name), address: OnceLock::new(), private };
        server.address.set(server.run("up")).unwrap();
        server
    }

    fn run(&self, command: &str) -> String {
        let mut process = Command::new(root().join(self.script));
        process.arg(command).arg(&self.directory).env("KAFKA_QUICK", "1").env("KAFKA_HEAP", "384m");
        // The preferred ports are reserved for `make kafka`. A restarted server reads its port from its directory.
        if !self.directory.join("port").exists() {
            let port = free_port().to_string();
            process.env("KAFKA_PORT", &port).env("POSTGRES_PORT", &port);
        }
        let output = process.output().unwrap();
        let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} {command} failed: {error}", self.script);
        said.trim().to_owned()
    }

    fn address(&self) -> String {
        self.address.get().unwrap().clone()
    }

    fn kill(&self, pid_file: &str) {
        let pid = std::fs::read_to_string(self.directory.join(pid_file)).unwrap();
        signal(pid.lines().next().unwrap().trim().parse().unwrap(), "KILL");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.private {
            self.run("down");
            std::fs::remove_dir_all(&self.directory).unwrap();
        }
    }
}

/// A file system of a few MiB, for tests with a full disk. Dropping the value unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system owned by this user id. Returns `None` without the right to mount.
    pub fn mount(mib: u32, user: u32) -> Option<Self> {
        let directory = std::env::temp_dir().join(unique("disk"));
        std::fs::create_dir(&directory).unwrap();
        let options = format!("size={mib}m,mode=0700,uid={user}");
        let done = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).arg(&directory).status().is_ok_and(|status| status.success())
        };
        done("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"]).then_some(Self { directory })
    }

    /// Returns the mount point.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Fills the disk completely.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.directory.join("ballast")).unwrap();
        while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
    }

    /// Frees the space again.
    pub fn make_room(&self) {
        std::fs::remove_file(self.directory.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount: processes with open files keep the file system until they close them.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.directory).status();
        let _removed = std::fs::remove_dir(&self.directory);
    }
}

/// Returns a free port.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
