//! Where Linux keeps the files of the control groups that this process is in, of version 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

/// Which files of which groups say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version<'a> {
    /// A hierarchy for each controller, by its name.
    One(&'a str),
    /// One hierarchy for all.
    Two,
}

/// The folder of the process's group and of every group above it, in which limits may stand; none where there is no such hierarchy.
///
/// `root` is `/`, or stands for it in tests.
pub fn folders(root: &Path, version: Version<'_>) -> Vec<PathBuf> {
    let Some((mount, folder)) = own_folder(root, version) else {
        return Vec::new();
    };
    folder
        .ancestors()
        .take_while(|ancestor| ancestor.starts_with(&mount))
        .map(Path::to_owned)
        .collect()
}

/// A file's text, if it can be read.
pub fn read(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok()
}

/// Where the hierarchy is mounted, and the process's group in it. A container sees its own group as the mount.
fn own_folder(root: &Path, version: Version<'_>) -> Option<(PathBuf, PathBuf)> {
    let groups = read(root, "proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| version.group(line))?;
    let mounts = read(root, "proc/self/mountinfo")?;
    let (from, mount) = mounts.lines().find_map(|line| version.mount(line))?;
    let mount = root.join(mount.trim_start_matches('/'));
    let inside = Path::new(group).strip_prefix(from).unwrap_or(Path::new(""));
    Some((mount.clone(), mount.join(inside)))
}

impl Version<'_> {
    /// The group that a line of `/proc/self/cgroup` names, if the line is of this hierarchy: `4:memory:/a` or `0::/a`.
    fn group(self, line: &str) -> Option<&str> {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let is_ours = match self {
            Self::One(name) => lists(controllers, name),
            Self::Two => controllers.is_empty(),
        };
        parts.next().filter(|_| is_ours)
    }

    /// Which part of the hierarchy a line of `mountinfo` mounts, and where.
    fn mount(self, line: &str) -> Option<(&str, &str)> {
        let (place, source) = line.split_once(" - ")?;
        let mut source = source.split(' ');
        let (kind, options) = (source.next()?, source.nth(1)?);
        let is_ours = match self {
            Self::One(name) => kind == "cgroup" && lists(options, name),
            Self::Two => kind == "cgroup2",
        };
        let mut place = place.split(' ').skip(3);
        let place = (place.next()?, place.next()?);
        is_ours.then_some(place)
    }
}

fn lists(names: &str, name: &str) -> bool {
    names.split(',').any(|other| other == name)
}

#[cfg(test)]
pub(crate) mod tests {
    use tempfile::TempDir;

    use super::*;

    pub const V2: [(&str, &str); 2] = [
        ("proc/self/cgroup", "0::/a.slice/b.scope\n"),
        (
            "proc/self/mountinfo",
            "24 1 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        ),
    ];
    /// In a container: the group itself is what is mounted.
    pub const V1: [(&str, &str); 2] = [
        (
            "proc/self/cgroup",
            "5:cpu,cpuacct:/docker/c0ffee\n4:memory:/docker/c0ffee\n0::/\n",
        ),
        (
            "proc/self/mountinfo",
            "29 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             30 23 0:28 /docker/c0ffee /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 /docker/c0ffee /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n",
        ),
    ];

    /// A file system that has these files.
    pub fn system(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], version: Version<'_>, expected: &[&str]) {
        let root = system(files);
        let expected: Vec<PathBuf> = expected.iter().map(|path| root.path().join(path)).collect();
        assert_eq!(folders(root.path(), version), expected);
    }

    #[test]
    fn groups_are_listed_up_to_the_mount() {
        let expected = [
            "sys/fs/cgroup/a.slice/b.scope",
            "sys/fs/cgroup/a.slice",
            "sys/fs/cgroup",
        ];
        check(&V2, Version::Two, &expected);
        check(&V2, Version::One("memory"), &[]);
        check(&V1, Version::One("memory"), &["sys/fs/cgroup/memory"]);
        check(&V1, Version::One("cpu"), &["sys/fs/cgroup/cpu,cpuacct"]);
        check(&V1, Version::Two, &[]);
    }

    #[test]
    fn nothing_is_made_of_lines_that_are_cut_or_missing() {
        check(&[], Version::Two, &[]);
        let cut = [
            ("proc/self/cgroup", "0:\n"),
            ("proc/self/mountinfo", " - \n"),
        ];
        check(&cut, Version::Two, &[]);
        check(&[V2[0], cut[1]], Version::Two, &[]);
    }
}
