//! What faults inside maps have left behind: the file `FAULTS`, a line for each, written by the process that one has ended.

use crate::io::{Fs, OpenMode};
use crate::model::BlockId;
use std::io;
use std::path::{Path, PathBuf};

/// The file. See `io::note_map_faults`.
pub const FAULTS_FILE: &str = "FAULTS";
/// What is read of the file at most: a fault ends a process, so there are few.
const BYTES_MAX: u64 = 1 << 20;
/// How much of a file is read at once.
const STEP: usize = 1 << 20;

/// Files whose maps have faulted, relative to the data directory; one may be there several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults(Vec<PathBuf>);

impl Faults {
    /// Reads the notes of `dir`, and forgets those of files that are gone.
    pub(super) fn read(fs: &dyn Fs, dir: &Path) -> io::Result<Self> {
        let notes = dir.join(FAULTS_FILE);
        if !fs.exists(&notes)? {
            return Ok(Self::default());
        }
        let file = fs.open(&notes, OpenMode::ReadWrite)?;
        if file.len()? > BYTES_MAX {
            file.set_len(BYTES_MAX)?;
        }
        let bytes = file.read_all()?;
        let faults = Self::parse(&String::from_utf8_lossy(&bytes));
        let is_there = |path: &PathBuf| fs.exists(&dir.join(path)).unwrap_or(true);
        if !faults.0.is_empty() && !faults.0.iter().any(is_there) {
            file.set_len(0)?;
            return Ok(Self::default());
        }
        for path in &faults.0 {
            tracing::error!(path = %path.display(), "the map of this file has faulted and ended the process: it is read without a map now");
        }
        Ok(faults)
    }

    fn parse(text: &str) -> Self {
        // Of a path the end within the directory counts: a folder of ours, and what is below it.
        let within = |line: &str| {
            let path = Path::new(line.split_once(' ')?.1);
            let names: Vec<_> = path.components().collect();
            let ours =
                |c: &std::path::Component<'_>| super::folders::FOLDERS.iter().any(|f| c.as_os_str() == *f);
            let at = names.iter().rposition(ours)?;
            Some(names[at..].iter().collect())
        };
        Self(text.lines().filter_map(within).collect())
    }

    /// Whether the checkpoint or the head-chunk log is concerned.
    pub(super) fn concern_head(&self) -> bool {
        self.0
            .iter()
            .any(|p| p.starts_with(super::folders::HEAD_DIR) || p.starts_with(super::folders::CHECKPOINT_DIR))
    }

    /// Why a block is not to be mapped again, if it is not: its files are read through; one that has faulted twice is not
    /// trusted even if that went well.
    pub(super) fn condemn(&self, fs: &dyn Fs, dir: &Path, id: BlockId) -> Option<String> {
        let folder = Path::new(super::folders::BLOCKS_DIR).join(id.to_string());
        let of_block: Vec<&PathBuf> = self.0.iter().filter(|p| p.starts_with(&folder)).collect();
        let path = of_block.first()?;
        if of_block.len() > 1 {
            return Some(format!("{}: its map has faulted {} times", path.display(), of_block.len()));
        }
        let mut buffer = vec![0; STEP];
        let mut read_through = || -> io::Result<()> {
            let file = fs.open(&dir.join(path), OpenMode::Read)?;
            let mut at = 0;
            loop {
                match file.read_at(&mut buffer, at)? {
                    0 => return Ok(()),
                    n => at += n as u64,
                }
            }
        };
        read_through().err().map(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SimFs;

    #[test]
    fn notes_name_what_lies_in_the_directory() {
        let check = |text: &str, want: &[&str]| {
            assert_eq!(Faults::parse(text), Faults(want.iter().map(PathBuf::from).collect()), "{text}");
        };
        check("", &[]);
        check("4096 /x/data/blocks/00ff/index\n", &["blocks/00ff/index"]);
        check(
            "0 ./data/head/1.hcl\n7 blocks/head/checkpoint/2.ckpt\nrubbish\n\n",
            &["head/1.hcl", "checkpoint/2.ckpt"],
        );
        check("12 /elsewhere/file", &[]);
        assert!(Faults::parse("1 d/checkpoint/1.ckpt").concern_head());
        assert!(!Faults::parse("1 d/blocks/1/index").concern_head());
    }

    #[test]
    fn notes_of_files_that_are_gone_are_forgotten() {
        let fs = SimFs::new(1);
        let dir = Path::new("/d");
        fs.create_dir_all(dir).unwrap();
        let file = fs.open(&dir.join(FAULTS_FILE), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"0 /d/blocks/01/index\n", 0).unwrap();
        assert_eq!(Faults::read(&fs, dir).unwrap(), Faults::default());
        assert_eq!(file.len().unwrap(), 0);
    }
}
