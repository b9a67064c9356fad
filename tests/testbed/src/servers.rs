//! Kafka and Postgres servers, started by the scripts in `dev/`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::disk::SmallDisk;
use crate::process::{signal, unique};

/// Longest time for the end of a killed process, which has memory to free.
const KILLED: Duration = Duration::from_secs(10);

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

/// A server that a script in `dev/` starts and stops.
#[derive(Debug)]
pub(crate) struct Server {
    script: &'static str,
    pub(crate) directory: PathBuf,
    address: OnceLock<String>,
    private: bool,
    /// The file system of the data, if it is one of its own.
    disk: Option<SmallDisk>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Returns the directory for files of tests.
pub fn directory() -> PathBuf {
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
        Self::private_files(&[("extra.properties", properties)])
    }

    /// Starts a node of a private cluster. Its node id differs from the one of the prepared disks, so that it formats its own.
    pub(crate) fn node_with(cluster_id: &str, properties: &str) -> Self {
        Self::private_files(&[("extra.properties", properties), ("cluster-id", cluster_id), ("scram", "")])
    }

    fn private_files(files: &[(&str, &str)]) -> Self {
        let name = unique("kafka");
        let directory = directory().join(&name);
        std::fs::create_dir_all(&directory).unwrap();
        for (file, content) in files {
            std::fs::write(directory.join(file), content).unwrap();
        }
        Self { server: Server::start("dev/kafka", &name, true) }
    }

    /// Creates the directory of such a node and chooses its controller's port. [`Kafka::start`] starts it, once the other nodes
    /// start too: a node listens when its cluster has a controller.
    pub(crate) fn prepared_node(cluster_id: &str) -> Self {
        let server = Server::prepared("dev/kafka", &unique("kafka"));
        let files = [("port", free_port()), ("controller-port", free_port())];
        let files = files.map(|(file, port)| (file, port.to_string()));
        for (file, content) in [("cluster-id", cluster_id), ("scram", "")] {
            std::fs::write(server.directory.join(file), content).unwrap();
        }
        for (file, content) in &files {
            std::fs::write(server.directory.join(file), content).unwrap();
        }
        server.address.set(format!("127.0.0.1:{}", files[0].1)).unwrap();
        Self { server }
    }

    /// Writes additional lines of the server.properties of a prepared node.
    pub(crate) fn configure(&self, properties: &str) {
        std::fs::write(self.server.directory.join("extra.properties"), properties).unwrap();
    }

    /// The port of the controller of a running or prepared node.
    pub(crate) fn controller_port(&self) -> String {
        std::fs::read_to_string(self.server.directory.join("controller-port")).unwrap().trim().to_owned()
    }

    /// Returns the address as host:port.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Kills the server, like a power failure. The data stays.
    pub fn kill(&self) {
        self.server.kill("pid");
    }

    /// Stops the process: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.server.signal("pid", "STOP");
    }

    /// Lets a paused process continue.
    pub fn resume(&self) {
        self.server.signal("pid", "CONT");
    }

    /// Shuts the server down. The data stays.
    pub fn stop(&self) {
        self.server.run("down");
    }

    /// Starts the server again, at the same address.
    pub fn start(&self) {
        self.server.run("up");
    }

    /// Copies the disk of a stopped or paused private broker, with its metadata. Replaces an earlier copy.
    pub fn back_up(&self) {
        let (data, copy) = self.disks();
        if copy.exists() {
            std::fs::remove_dir_all(&copy).unwrap();
        }
        copy_directory(&data, &copy);
    }

    /// Replaces the disk of a stopped private broker by the copy.
    pub fn restore(&self) {
        let (data, copy) = self.disks();
        std::fs::remove_dir_all(&data).unwrap();
        copy_directory(&copy, &data);
    }

    /// Like [`Kafka::restore`], but the log of the cluster's metadata stays: a single controller that forgets its votes and entries
    /// breaks the consensus of the others, and no broker starts any more.
    pub fn restore_topics(&self) {
        const METADATA: &str = "__cluster_metadata-0";
        let (data, _) = self.disks();
        let kept = data.with_file_name("metadata-of-cluster");
        std::fs::rename(data.join(METADATA), &kept).unwrap();
        self.restore();
        std::fs::remove_dir_all(data.join(METADATA)).unwrap();
        std::fs::rename(kept, data.join(METADATA)).unwrap();
    }

    /// Number of bytes of a topic that the disk has and its copy lacks.
    pub fn missing_in_copy(&self, topic: &str) -> u64 {
        let (data, copy) = self.disks();
        log_bytes(&data, topic).saturating_sub(log_bytes(&copy, topic))
    }

    /// Whether the process runs.
    pub fn runs(&self) -> bool {
        let pid = std::fs::read_to_string(self.server.directory.join("pid")).unwrap_or_default();
        !pid.is_empty() && Path::new("/proc").join(pid.trim()).join("exe").exists()
    }

    fn disks(&self) -> (PathBuf, PathBuf) {
        assert!(self.server.private, "only a private broker can be damaged");
        (self.server.directory.join("data"), self.server.directory.join("copy"))
    }
}

/// The size of the logs of a topic's partitions.
fn log_bytes(disk: &Path, topic: &str) -> u64 {
    let entries = |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten().collect::<Vec<_>>();
    let is_partition = |name: &str| name.rsplit_once('-').is_some_and(|(of, _)| of == topic);
    let partitions = entries(disk).into_iter().filter(|entry| is_partition(&entry.file_name().to_string_lossy()));
    let files = partitions.flat_map(|partition| entries(&partition.path()));
    let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|log| log.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn copy_directory(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "copying {} failed", from.display());
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

    /// Starts a private server on a file system of its own, of this size. Returns `None` without the right to mount.
    pub fn private_on_disk(mib: u32) -> Option<Self> {
        let server = Server::prepared("dev/postgres", &unique("postgres")).on_disk(mib)?;
        let conf = server.directory.join("conf");
        std::fs::create_dir_all(&conf).unwrap();
        std::fs::write(conf.join("extra.conf"), "max_wal_size = 64MB\nmin_wal_size = 32MB\n").unwrap();
        Some(Self { server: server.begin(("up", &[])) })
    }

    /// Starts a hot standby of such a server, on a file system of the same kind.
    pub(crate) fn standby_on_disk(primary: &Self, mib: u32) -> Option<Self> {
        let directory = primary.server.directory.as_path();
        let server = Server::prepared("dev/postgres", &unique("postgres")).on_disk(mib)?;
        Some(Self { server: server.begin(("standby", &[directory])) })
    }

    /// The file system of the data, if it is one of its own.
    pub const fn disk(&self) -> Option<&SmallDisk> {
        self.server.disk.as_ref()
    }

    /// Returns the directory of the server, for `dev/postgres psql`.
    pub fn directory(&self) -> &Path {
        &self.server.directory
    }

    /// Returns the log of the server.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.server.directory.join("log")).unwrap()).into_owned()
    }

    /// Starts a hot standby of a private server, at its own address.
    pub(crate) fn standby_of(primary: &Self) -> Self {
        assert!(primary.server.private, "a standby makes its primary keep logs");
        let directory = primary.server.directory.as_path();
        Self { server: Server::start_by(("standby", &[directory]), "dev/postgres", &unique("postgres"), true) }
    }

    /// Ends the recovery of a standby.
    pub(crate) fn promote(&self) {
        self.server.run("promote");
    }

    /// Returns the URL of the database `retail`, with the log-in of its owner, an ordinary user.
    pub fn url(&self) -> String {
        self.server.address()
    }

    /// Returns the URL of the database `retail`, with the log-in of the superuser.
    pub fn superuser_url(&self) -> String {
        self.url().replace("retail:retail@", "postgres:postgres@")
    }

    /// Returns the URL of another database, with the log-in of the user `retail`.
    pub fn url_of(&self, database: &str) -> String {
        format!("{}/{database}", self.url().rsplit_once('/').unwrap().0)
    }

    /// Creates a database of the user `retail`. Returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        let (client, connection) = tokio_postgres::connect(&self.superuser_url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE \"{name}\" OWNER retail")).await.unwrap();
        self.url_of(name)
    }

    /// Returns the output of pg_dump for the database `retail`. Arguments select parts, such as `--schema=NAME`.
    pub fn dump(&self, arguments: &[&str]) -> Vec<u8> {
        self.server.client("pg_dump", arguments, &[])
    }

    /// Runs the statements of a dump in a database, with psql.
    ///
    /// # Panics
    ///
    /// If a statement fails.
    pub fn restore(&self, database: &str, dump: &[u8]) {
        let arguments = ["-X", "--quiet", "--dbname", database, "--set", "ON_ERROR_STOP=1"];
        self.server.client("psql", &arguments, dump);
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
    pub(crate) fn start(script: &'static str, name: &str, private: bool) -> Self {
        Self::start_by(("up", &[]), script, name, private)
    }

    /// Starts a server for the first time by another command than `up`.
    fn start_by(command: (&str, &[&Path]), script: &'static str, name: &str, private: bool) -> Self {
        let directory = directory().join(name);
        Self { script, directory, address: OnceLock::new(), private, disk: None }.begin(command)
    }

    /// A private server that does not run yet. Its directory exists.
    fn prepared(script: &'static str, name: &str) -> Self {
        let directory = directory().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self { script, directory, address: OnceLock::new(), private: true, disk: None }
    }

    /// Gives a prepared server a file system of its own for its data.
    fn on_disk(mut self, mib: u32) -> Option<Self> {
        self.disk = Some(SmallDisk::mount_at(self.directory.join("data"), mib, server_user()?)?);
        Some(self)
    }

    /// Starts the server for the first time.
    fn begin(self, command: (&str, &[&Path])) -> Self {
        self.address.set(self.run_with(command.0, command.1)).unwrap();
        self
    }

    /// Runs a command of the script for this server. Returns its output.
    pub(crate) fn run(&self, command: &str) -> String {
        self.run_with(command, &[])
    }

    fn run_with(&self, command: &str, arguments: &[&Path]) -> String {
        let mut process = self.script(command);
        process.args(arguments).env("KAFKA_QUICK", "1").env("KAFKA_HEAP", "384m");
        // The preferred ports are reserved for `make kafka`. A restarted server reads its port from its directory.
        if !self.directory.join("port").exists() {
            let port = free_port().to_string();
            process
                .env("KAFKA_PORT", &port)
                .env("POSTGRES_PORT", &port)
                .env("PGBOUNCER_PORT", &port)
                .env("REGISTRY_PORT", &port);
        }
        let output = process.output().unwrap();
        assert!(output.status.success(), "{} {command} failed: {}", self.script, text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    /// Runs a client program of the server with this input. Returns its output.
    fn client(&self, program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut process = self.script(program);
        process.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = process.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // A program that fails does not read to the end.
            scope.spawn(move || stdin.write_all(input));
            process.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "{program} failed: {}", text(&output.stderr));
        output.stdout
    }

    fn script(&self, command: &str) -> Command {
        let mut process = Command::new(root().join(self.script));
        process.arg(command).arg(&self.directory);
        process
    }

    pub(crate) fn address(&self) -> String {
        self.address.get().unwrap().clone()
    }

    /// Kills a process of the server, and waits for its end: until then it still seems to run and its port to listen.
    pub(crate) fn kill(&self, pid_file: &str) {
        let pid = self.pid(pid_file);
        signal(pid, "KILL");
        let program = Path::new("/proc").join(pid.to_string()).join("exe");
        let began = Instant::now();
        while program.exists() && began.elapsed() < KILLED {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, pid_file: &str, name: &str) {
        signal(self.pid(pid_file), name);
    }

    fn pid(&self, pid_file: &str) -> u32 {
        let pid = std::fs::read_to_string(self.directory.join(pid_file)).unwrap();
        pid.lines().next().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.private {
            self.run("down");
            drop(self.disk.take());
            std::fs::remove_dir_all(&self.directory).unwrap();
        }
    }
}

/// Returns the id of the system user that runs database servers, like dev/lib.sh.
fn server_user() -> Option<u32> {
    let id = |user: &str| {
        let output = Command::new("id").args(["-u", user]).output().ok()?;
        text(&output.stdout).trim().parse().ok()
    };
    id("postgres").or_else(|| id("nobody"))
}

fn text(output: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(output)
}

/// Returns a free port.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
