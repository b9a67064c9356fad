//! The kinds of faults, how often each is drawn, and how its effect is observed.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($kind:ident, $weight:literal, $observed:literal;)*) => {
        /// A kind of fault. A fault counts only if its effect was observed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $(#[doc = $observed] $kind,)*
        }

        /// All kinds, how often each is drawn, relative to the others, and the observation that counts.
        pub const KINDS: &[(Kind, u32, &str)] = &[$((Kind::$kind, $weight, $observed)),*];
    };
}

kinds! {
    Killed, 7, "a processor ended by SIGKILL";
    Suspended, 6, "other processors owned all partitions of a stopped one, or a commit of it was fenced";
    KafkaSilent, 6, "a proxy kept or swallowed bytes of live connections to a broker";
    PostgresSilent, 6, "a proxy kept or swallowed bytes of live connections to Postgres";
    KafkaCut, 6, "a proxy closed live connections to a broker";
    PostgresCut, 6, "a proxy closed live connections to Postgres";
    KafkaDelayed, 5, "a proxy delayed bytes of live connections to a broker";
    PostgresDelayed, 5, "a proxy delayed bytes of live connections to Postgres";
    HalfOpen, 5, "a live connection was closed on one side, and the other side was still open and used";
    Trickled, 5, "a proxy passed bytes of live connections one by one";
    BrokerKilled, 5, "a broker ended by SIGKILL, and led no partition of the topic meanwhile";
    BrokerRestarted, 5, "a broker ended after SIGTERM, and led no partition of the topic meanwhile";
    LeaderMoved, 5, "the metadata named another leader of the partition";
    FailedOver, 5, "the standby accepted writes after a shutdown of the primary, with all of its commits";
    CommitsLost, 6, "the promoted standby had lower offsets than the killed primary";
    BrokerDiskRestored, 5, "a killed broker came back with a copy of its disk that lacked records of the topic";
    ClusterDiskRestored, 5, "all brokers came back without processed records, and the processors reported the loss and changed nothing";
    DiskFull, 5, "Postgres logged that no space was left on its disk";
    ClockJumped, 5, "a processor logged times that were years off";
    BadRecords, 6, "the dead letters contained each record of a burst of one kind, with its reason";
    TableLocked, 5, "a commit waited for a lock of a reader's table";
    PoolerRestarted, 5, "the pooler had another process id";
    LogStartMoved, 5, "the log of a partition began at a later offset";
    SessionTerminated, 5, "a session of a processor vanished from pg_stat_activity";
    RegistryAway, 5, "a worker waited for a schema while the registry refused connections";
    RegistrySilent, 5, "a worker waited for a schema while a proxy kept the bytes of the registry";
    RegistryKilled, 5, "a worker waited for a schema after the registry had ended by SIGKILL";
}

impl Kind {
    /// Whether only records with schemas of a registry show its effect.
    pub const fn needs_registry(self) -> bool {
        matches!(self, Self::RegistryAway | Self::RegistrySilent | Self::RegistryKilled)
    }

    /// The name in logs and tables.
    pub fn name(self) -> String {
        let name = format!("{self:?}");
        let words = name.chars().enumerate().map(|(at, letter)| match letter.is_ascii_uppercase() {
            true if at > 0 => format!(" {}", letter.to_ascii_lowercase()),
            _ => letter.to_ascii_lowercase().to_string(),
        });
        words.collect()
    }
}
