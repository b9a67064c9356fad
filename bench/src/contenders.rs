//! Who is measured on the same work, and how each is started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::ground::{Case, Ground, PARTITIONS, without_password};

/// Someone who reads the topic and, the limit excepted, leaves sums in Postgres.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    /// A short name, the same in every run.
    pub(crate) name: String,
    /// What it is, for people.
    pub(crate) title: String,
    pub(crate) kind: Kind,
}

/// What kind of contender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// librdkafka and nothing else.
    Limit { consumers: usize, pinned: bool, allocator: Allocator },
    /// A processor of these programs.
    Processor { programs: PathBuf, workers: usize, pinned: bool },
    /// What most people would write.
    Naive,
    /// Another system, in this directory, with one more variable of the environment if it is a variant.
    Peer { directory: PathBuf, setting: Option<(String, String)> },
}

/// Who allocates memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Allocator {
    /// The C library, as for whoever chooses nothing else.
    System,
    /// mimalloc, as in our programs.
    Ours,
}

impl Contender {
    /// The limit.
    pub(crate) fn limit(consumers: usize, pinned: bool, allocator: Allocator) -> Self {
        let (suffix, with) = match allocator {
            Allocator::System => ("", ""),
            Allocator::Ours => ("-mimalloc", ", with mimalloc"),
        };
        Self {
            name: format!("limit-{consumers}{}{suffix}", if pinned { "-pinned" } else { "" }),
            title: format!(
                "librdkafka alone{with}, no record looked at: {}",
                units(consumers, "consumer", if pinned { "each on its core" } else { "free" })
            ),
            kind: Kind::Limit { consumers, pinned, allocator },
        }
    }

    /// The processor in this directory.
    pub(crate) fn processor(programs: &Path, workers: usize, pinned: bool) -> Self {
        let can_pin = can_pin(programs);
        let how = match (pinned, can_pin) {
            (true, true) => "each on its core",
            (true, false) => "free: this build cannot pin",
            (false, _) => "free",
        };
        Self {
            name: format!("processor-{workers}{}", if pinned { "-pinned" } else { "" }),
            title: format!("**retail-processor**, {}", units(workers, "worker", how)),
            kind: Kind::Processor { programs: programs.to_owned(), workers, pinned: pinned && can_pin },
        }
    }

    /// The processor of another build.
    pub(crate) fn beside(programs: &Path, workers: usize) -> Self {
        let mut contender = Self::processor(programs, workers, false);
        contender.name += "-beside";
        contender.title = format!("retail-processor of {}, {}", programs.display(), units(workers, "worker", "free"));
        contender
    }

    /// What most people would write.
    pub(crate) fn naive() -> Self {
        Self {
            name: "naive".to_owned(),
            title: "naive Rust service: StreamConsumer, serde_json, HashMap, upsert each second".to_owned(),
            kind: Kind::Naive,
        }
    }

    /// The peers that are there: those that are named, or all.
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

    /// The peer in a directory, and its variants: each a line of the file `variants`, a variable with its value and a title.
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

    /// How it is started for one run. `scratch` is an empty directory.
    pub(crate) fn command(&self, ground: &Ground, case: &Case, events: u64, scratch: &Path) -> Result<Command> {
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
                    Allocator::System => this,
                    Allocator::Ours => this.with_file_name("retail-bench-mimalloc"),
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
        self.put_contract(&mut command, ground, case, events, scratch)?;
        Ok(command)
    }

    /// What puts its result into the table, where `run` cannot.
    pub(crate) fn collect(&self, ground: &Ground, case: &Case, events: u64, scratch: &Path) -> Result<Option<Command>> {
        let Kind::Peer { directory, .. } = &self.kind else { return Ok(None) };
        let collect = directory.join("collect");
        if !collect.exists() {
            return Ok(None);
        }
        let mut command = Command::new(collect);
        self.put_contract(&mut command, ground, case, events, scratch)?;
        Ok(Some(command))
    }

    /// What a contender is told by the environment: see [`crate::contract`].
    fn put_contract(
        &self,
        command: &mut Command,
        ground: &Ground,
        case: &Case,
        events: u64,
        scratch: &Path,
    ) -> Result<()> {
        command
            .env("BENCH_BOOTSTRAP_SERVERS", &ground.kafka.bootstrap_servers)
            .env("BENCH_TOPIC", case.topic())
            .env("BENCH_PARTITIONS", PARTITIONS.to_string())
            .env("BENCH_EVENTS", events.to_string())
            .env("BENCH_RUN", case.schema().replace('_', "-"))
            .env("BENCH_WORK", scratch)
            .env("BENCH_DATABASE_URL", &ground.database_url)
            .env("BENCH_SCHEMA", case.schema());
        if let Kind::Peer { setting, .. } = &self.kind {
            command.env("BENCH_DATABASE_URL", without_password(&ground.database_url)?);
            command.envs(setting.iter().map(|(variable, value)| (variable, value)));
        }
        Ok(())
    }
}

fn units(count: usize, unit: &str, how: &str) -> String {
    format!("{count} {unit}{}, {how}", if count == 1 { "" } else { "s" })
}

/// Whether a build of the processor can hold its workers on cores.
fn can_pin(programs: &Path) -> bool {
    let help = Command::new(programs.join("retail-processor")).arg("--help").output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--pin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_found_with_their_variants_and_only_those_that_are_wanted() {
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
            Contender::peers(&root, wanted).into_iter().map(|peer| (peer.name, peer.title)).collect()
        };
        let pair = |name: &str, title: &str| (name.to_owned(), title.to_owned());
        let streams = [pair("streams", "Streams 1.0"), pair("streams-p1d", "Streams 1.0 with grace")];
        assert_eq!(found(Some(&["streams".to_owned()])), streams);
        assert_eq!(found(None), [&[pair("flows", "flows")], &streams[..]].concat());
        assert_eq!(found(Some(&[])), []);
        std::fs::remove_dir_all(root).unwrap();
    }
}
