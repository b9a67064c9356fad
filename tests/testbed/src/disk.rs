//! A file system that tests can fill.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::unique;

/// A file system of a few MiB, for tests with a full disk. Dropping the value unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system owned by this user id. Returns `None` without the right to mount.
    pub fn mount(mib: u32, user: u32) -> Option<Self> {
        Self::mount_at(std::env::temp_dir().join(unique("disk")), mib, user)
    }

    /// Mounts such a file system at this path, which must not exist.
    pub(crate) fn mount_at(directory: PathBuf, mib: u32, user: u32) -> Option<Self> {
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
        while ballast.write_all(&[1; 4096]).is_ok() {}
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
