//! The measured systems, and how the harness starts each of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::setup::{Case, PARTITIONS, Setup, without_password};

/// A program that reads the topic and writes sums to Postgres. The limit writes nothing.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// A short name, constant across runs.
    pub(crate) name: String,
    /// The title in tables and plots.
    pub(crate) title: String,
    pub(crate) kind: Kind,
}

/// The kind of a system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// librdkafka alone.
    Limit { consumers: usize, pinned: bool, allocator: Allocator },
    /// The processor in a directory of programs.
    Processor { programs: PathBuf, workers: usize, pinned: bool },
    /// A typical hand-written service.
    Naive,
    /// Another system, in its directory. A variant sets one more environment variable.
    Peer { directory: PathBuf, setting: Option<(String, String)> },
}

/// The memory allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Allocator {
    /// The allocator of the C library, the default.
    Libc,
    /// mimalloc, the allocator of the product.
    Mimalloc,
}

impl System {
    /// librdkafka alone, the lower bound of the CPU time.
    pub(crate) fn limit(consumers: usize, pinned: bool, allocator: Allocator) -> Self {
        let (suffix, with) = match allocator {
            Allocator::Libc => ("", ""),
            Allocator::Mimalloc => ("-mimalloc", ", with mimalloc"),
        };
        Self {
            name: format!("limit-{consumers}{}{suffix}", if pinned { "-pinned" } else { "" }),
            title: format!(
                "librdkafka alone{with}, records not read: {}",
                units(consumers, "consumer", if pinned { "pinned" } else { "free" })
            ),
            kind: Kind::Limit { consumers, pinned, allocator },
        }
    }

    /// The processor in a directory of programs.
    pub(crate) fn processor(programs: &Path, workers: usize, pinned: bool) -> Self {
        let can_pin = can_pin(programs);
        let how = match (pinned, can_pin) {
            (true, true) => "pinned",
            (true, false) => "free, because this build cannot pin",
            (false, _) => "free",
        };
        Self {
            name: format!("processor-{workers}{}", if pinned { "-pinned" } else { "" }),
            title: format!("**retail-processor**, {}", units(workers, "worker", how)),
            kind: Kind::Processor { programs: programs.to_owned(), workers, pinned: pinned && can_pin },
        }
    }

    /// The processor of a second build, which alternates with this one.
    pub(crate) fn second_build(programs: &Path, workers: usize) -> Self {
        let mut system = Self::processor(programs, workers, false);
        system.name += "-second";
        system.title = format!("retail-processor of {}, {}", programs.display(), units(workers, "worker", "free"));
        system
    }

    /// A typical hand-written service.
    pub(crate) fn naive() -> Self {
        Self {
            name: "naive".to_owned(),
            title: "naive Rust service: StreamConsumer, serde_json, HashMap, upsert each second".to_owned(),
            kind: Kind::Naive,
        }
    }

    /// Finds the peers under bench/peers: the named ones, or all.
    pub(crate) fn peers(root: &Path, wanted: Option<&[String]>) -> Vec<Self> {
        let entries = std::fs::read_dir(root.join("bench/peers")).into_iter().flatten().flatten();
        let mut directories: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.join("run").exists()).collect();
        directories.sort();
        let is_wanted = |directory: &PathBuf| {
            let name = directory.file_name().and_then(OsStr::to_str).unwrap_or_default();
            wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == name))
        };
        directories.into_iter().filter(is_wanted).flat_map(|directory| Self::peer(&directory)).collect()
    }

    /// Returns the peer in a directory, and one variant for each line of its file `variants`: `VARIABLE=VALUE title`.
    fn peer(directory: &Path) -> Vec<Self> {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let read = |file| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        let title = read("title").lines().next().map_or_else(|| name.clone(), str::to_owned);
        let of =
            |name, title, setting| Self { name, title, kind: Kind::Peer { directory: directory.to_owned(), setting } };
        let mut peers = vec![of(name.clone(), title, None)];
        for line in read("variants").lines() {
            if let Some((setting, title)) = line.split_once(' ')
                && let Some((variable, value)) = setting.split_once('=')
            {
                let name = format!("{name}-{}", value.to_lowercase());
                peers.push(of(name, title.to_owned(), Some((variable.to_owned(), value.to_owned()))));
            }
        }
        peers
    }

    /// Returns the command for one run. `scratch` is an empty directory.
    pub(crate) fn command(&self, setup: &Setup, case: &Case, events: u64, scratch: &Path) -> Result<Command> {
        let mut command = match &self.kind {
            Kind::Processor { programs, workers, pinned } => {
                let mut command = case.command(&programs.join("retail-processor"));
                command.args(["--until-caught-up", "--workers", &workers.to_string()]);
                if *pinned {
                    command.arg("--pin");
                }
                return Ok(command);
            }
            Kind::Limit { consumers, pinned, allocator } => {
                let this = std::env::current_exe()?;
                let mut command = Command::new(match allocator {
                    Allocator::Libc => this,
                    Allocator::Mimalloc => this.with_file_name("retail-bench-mimalloc"),
                });
                command.args(["limit", "--consumers", &consumers.to_string()]);
                if *pinned {
                    command.arg("--pin");
                }
                command
            }
            Kind::Naive => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("naive");
                command
            }
            Kind::Peer { directory, .. } => Command::new(directory.join("run")),
        };
        self.put_contract(&mut command, setup, case, events, scratch)?;
        Ok(command)
    }

    /// Returns the command that copies the result into the table after the run, or `None` if the run wrote it itself.
    pub(crate) fn collect(&self, setup: &Setup, case: &Case, events: u64, scratch: &Path) -> Result<Option<Command>> {
        let Kind::Peer { directory, .. } = &self.kind else { return Ok(None) };
        let collect = directory.join("collect");
        if !collect.exists() {
            return Ok(None);
        }
        let mut command = Command::new(collect);
        self.put_contract(&mut command, setup, case, events, scratch)?;
        Ok(Some(command))
    }

    /// Sets the environment variables of [`crate::contract`].
    fn put_contract(
        &self,
        command: &mut Command,
        setup: &Setup,
        case: &Case,
        events: u64,
        scratch: &Path,
    ) -> Result<()> {
        command
            .env("BENCH_BOOTSTRAP_SERVERS", &setup.kafka.bootstrap_servers)
            .env("BENCH_TOPIC", case.topic())
            .env("BENCH_PARTITIONS", PARTITIONS.to_string())
            .env("BENCH_EVENTS", events.to_string())
            .env("BENCH_RUN", case.schema().replace('_', "-"))
            .env("BENCH_WORK", scratch)
            .env("BENCH_DATABASE_URL", &setup.database_url)
            .env("BENCH_SCHEMA", case.schema());
        if let Kind::Peer { setting, .. } = &self.kind {
            command.env("BENCH_DATABASE_URL", without_password(&setup.database_url)?);
            command.envs(setting.iter().map(|(variable, value)| (variable, value)));
        }
        Ok(())
    }
}

fn units(count: usize, unit: &str, how: &str) -> String {
    format!("{count} {unit}{}, {how}", if count == 1 { "" } else { "s" })
}

/// Returns whether a build of the processor has the option `--pin`.
fn can_pin(programs: &Path) -> bool {
    let help = Command::new(programs.join("retail-processor")).arg("--help").output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--pin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_returns_named_peers_with_their_variants() {
        let root = std::env::temp_dir().join(format!("retail-bench-peers-{}", std::process::id()));
        for (peer, file, text) in [
            ("streams", "run", ""),
            ("streams", "title", "Streams 1.0\n"),
            ("streams", "variants", "GRACE=P1D Streams 1.0 with grace\n"),
            ("flows", "run", ""),
            ("unfinished", "install", ""),
        ] {
            std::fs::create_dir_all(root.join("bench/peers").join(peer)).unwrap();
            std::fs::write(root.join("bench/peers").join(peer).join(file), text).unwrap();
        }
        let found = |wanted: Option<&[String]>| -> Vec<(String, String)> {
            System::peers(&root, wanted).into_iter().map(|peer| (peer.name, peer.title)).collect()
        };
        let pair = |name: &str, title: &str| (name.to_owned(), title.to_owned());
        let streams = [pair("streams", "Streams 1.0"), pair("streams-p1d", "Streams 1.0 with grace")];
        assert_eq!(found(Some(&["streams".to_owned()])), streams);
        assert_eq!(found(None), [&[pair("flows", "flows")], &streams[..]].concat());
        assert_eq!(found(Some(&[])), []);
        std::fs::remove_dir_all(root).unwrap();
    }
}
