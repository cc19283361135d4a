use super::*;

fn disk_with(files: &[(&str, &[u8])]) -> SimFs {
    let fs = SimFs::new(0);
    fs.create_dir_all(Path::new("d")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    for (path, bytes) in files {
        let file = fs.open(Path::new(path), OpenMode::CreateNew).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync_data().unwrap();
    }
    fs.sync_dir(Path::new("d")).unwrap();
    fs
}

fn content(fs: &SimFs, path: &str) -> Option<Vec<u8>> {
    fs.exists(Path::new(path))
        .unwrap()
        .then(|| fs.open(Path::new(path), OpenMode::Read).unwrap().read_all().unwrap())
}

fn open(fs: &SimFs, path: &str) -> Arc<dyn File> {
    fs.open(Path::new(path), OpenMode::ReadWrite).unwrap()
}

#[test]
fn synced_bytes_and_entries_survive_every_cut() {
    let fs = disk_with(&[("d/a", b"hello")]);
    for seed in 0..50 {
        assert_eq!(content(&fs.crash(seed), "d/a").as_deref(), Some(&b"hello"[..]), "seed {seed}");
    }
}

#[test]
fn a_synced_file_without_a_synced_entry_may_be_gone() {
    let fs = disk_with(&[]);
    let file = fs.open(Path::new("d/a"), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(content(&fs.crash(0), "d/a"), None);
    assert_eq!(content(&fs.crash(1), "d/a").as_deref(), Some(&b"x"[..]));
}

#[test]
fn unsynced_pages_are_lost_one_by_one() {
    let fs = disk_with(&[("d/a", b"")]);
    open(&fs, "d/a").write_all_at(&[7; 8 * 4096], 100).unwrap();
    assert_eq!(content(&fs.crash(0), "d/a").unwrap(), b"");
    assert_eq!(content(&fs.crash(1), "d/a"), content(&fs, "d/a"));
    let (mut holes, mut torn, mut zeroes) = (0, 0, 0);
    for seed in 2..200 {
        let bytes = content(&fs.crash(seed), "d/a").unwrap();
        assert_eq!(content(&fs.crash(seed), "d/a").unwrap(), bytes, "seed {seed} gives one outcome");
        assert!(bytes.iter().skip(100).all(|b| [0, 7].contains(b)), "seed {seed}");
        let page = |k: usize| bytes.get(k * 4096..(k + 1) * 4096);
        holes += usize::from(
            (1..6).any(|k| page(k).is_some_and(|p| p == [0; 4096]) && page(k + 1).is_some_and(|p| p[0] == 7)),
        );
        torn += usize::from((1..7).any(|k| page(k).is_some_and(|p| p[0] == 7 && p[4095] == 0)));
        zeroes += usize::from(bytes.len() == 8 * 4096 + 100 && bytes.ends_with(&[0; 4096]));
    }
    assert!(holes > 20 && torn > 5 && zeroes > 20, "{holes} holes, {torn} torn, {zeroes} ends of zeroes");
}

#[test]
fn directory_entries_are_lost_one_by_one() {
    let fs = disk_with(&[("d/a", b"a"), ("d/b", b"b")]);
    fs.rename(Path::new("d/a"), Path::new("d/c")).unwrap();
    fs.remove_file(Path::new("d/b")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let after = fs.crash(seed);
        let names: Vec<String> =
            after.read_dir(Path::new("d")).unwrap().into_iter().map(|e| e.name).collect();
        seen.insert(names.concat());
        assert_ne!(content(&after, "d/a").is_some(), content(&after, "d/c").is_some(), "a rename is atomic");
    }
    assert!(seen.iter().eq(["a", "ab", "bc", "c"].iter()), "{seen:?}");
    fs.sync_dir(Path::new("d")).unwrap();
    assert_eq!(fs.crash(0).read_dir(Path::new("d")).unwrap().len(), 1);
}

#[test]
fn a_failed_sync_marks_pages_clean_without_writing_them() {
    let fs = disk_with(&[("d/a", b"old")]);
    let file = open(&fs, "d/a");
    file.write_all_at(b"new", 0).unwrap();
    fs.fail_at(fs.ops(), FaultKind::Eio);
    assert!(file.sync_data().unwrap_err().to_string().contains("d/a"));
    file.sync_data().unwrap();
    assert_eq!(content(&fs, "d/a").unwrap(), b"new");
    for seed in 0..20 {
        assert_eq!(content(&fs.crash(seed), "d/a").unwrap(), b"old", "seed {seed}");
    }
}

#[test]
fn faults_hit_the_operation_they_were_planned_for() {
    let fs = disk_with(&[("d/a", b"0123")]);
    let file = open(&fs, "d/a");
    let n = fs.ops();
    fs.fail_at(n, FaultKind::Enospc);
    fs.fail_at(n + 1, FaultKind::TornWrite);
    fs.fail_at(n + 2, FaultKind::BitFlip);
    assert_eq!(file.allocate(100).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 4);
    file.write_all_at(&[9; 4], 0).unwrap_err();
    let torn = file.read_all().unwrap();
    assert!(torn.starts_with(b"9") || torn.ends_with(b"3"), "{torn:?}");
    file.write_all_at(b"abcd", 0).unwrap();
    let flipped = file.read_all().unwrap();
    let bits: u32 = flipped.iter().zip(b"abcd").map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!(bits, 1);
    assert_eq!(file.read_all().unwrap(), b"abcd");
    assert_eq!(fs.op_names()[n as usize..], ["allocate d/a", "write d/a", "write d/a"]);
}

#[test]
fn lasting_faults_end_by_healing() {
    let fs = disk_with(&[("d/a", b"x")]);
    let file = open(&fs, "d/a");
    fs.fail_from(fs.ops(), FaultKind::Enospc);
    for _ in 0..3 {
        file.write_all_at(b"y", 0).unwrap_err();
    }
    fs.heal();
    file.write_all_at(b"z", 0).unwrap();
    assert_eq!(content(&fs, "d/a").unwrap(), b"z");
}

#[test]
fn a_freeze_stops_everything_at_once() {
    let fs = disk_with(&[("d/a", b"x")]);
    let file = open(&fs, "d/a");
    fs.freeze_at(fs.ops() + 1);
    file.write_all_at(b"y", 0).unwrap();
    assert_eq!(content(&fs, "d/a").unwrap(), b"y");
    file.sync_data().unwrap_err();
    file.read_all().unwrap_err();
    fs.open(Path::new("d/b"), OpenMode::CreateNew).unwrap_err();
    fs.exists(Path::new("d/a")).unwrap_err();
    assert_eq!(content(&fs.crash(0), "d/a").unwrap(), b"x");
    assert_eq!(content(&fs.crash(1), "d/a").unwrap(), b"y");
}

#[test]
fn a_rename_across_directories_needs_the_target_synced_first() {
    let fs = disk_with(&[("d/a", b"x")]);
    fs.create_dir_all(Path::new("e")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    fs.rename(Path::new("d/a"), Path::new("e/a")).unwrap();
    for seed in 0..100 {
        let after = fs.crash(seed);
        assert!(content(&after, "d/a").is_some() || content(&after, "e/a").is_some(), "seed {seed}");
    }
    fs.sync_dir(Path::new("e")).unwrap();
    let after = fs.crash(0);
    assert!(content(&after, "d/a").is_some() && content(&after, "e/a").is_some());
    fs.sync_dir(Path::new("d")).unwrap();
    let after = fs.crash(0);
    assert!(content(&after, "d/a").is_none() && content(&after, "e/a").is_some());
}

#[test]
fn removing_a_directory_may_be_cut_in_the_middle() {
    let fs = disk_with(&[("d/a", b"x"), ("d/b", b"y")]);
    fs.remove_dir_all(Path::new("d")).unwrap();
    assert!(!fs.exists(Path::new("d")).unwrap());
    let left = |seed| fs.crash(seed).read_dir(Path::new("d")).map_or(9, |e| e.len());
    assert_eq!((left(0), left(1)), (2, 9));
    assert!((2..100).any(|seed| left(seed) == 1));
}

#[test]
fn only_synced_files_are_mapped() {
    let fs = disk_with(&[("d/a", b"x")]);
    assert_eq!(&fs.map(Path::new("d/a")).unwrap()[..], b"x");
    open(&fs, "d/a").write_all_at(b"y", 0).unwrap();
    assert_eq!(fs.map(Path::new("d/a")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn names_behave_as_on_a_real_disk() {
    let fs = disk_with(&[("d/a", b"a"), ("d/b", b"b")]);
    let kind = |r: io::Result<()>| r.unwrap_err().kind();
    let p = Path::new;
    assert_eq!(kind(fs.open(p("d/a"), OpenMode::CreateNew).map(drop)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.open(p("x/a"), OpenMode::CreateNew).map(drop)), io::ErrorKind::NotFound);
    assert_eq!(kind(fs.open(p("d"), OpenMode::Read).map(drop)), io::ErrorKind::IsADirectory);
    assert_eq!(kind(fs.remove_file(p("d/x"))), io::ErrorKind::NotFound);
    assert_eq!(kind(fs.rename(p("d"), p("d/e"))), io::ErrorKind::InvalidInput);
    assert_eq!(kind(fs.open(p("d/a"), OpenMode::Read).unwrap().set_len(0)), io::ErrorKind::PermissionDenied);
    let old = open(&fs, "d/b");
    fs.rename(p("d/a"), p("/d/b")).unwrap();
    assert_eq!(content(&fs, "d/b").unwrap(), b"a");
    assert_eq!(old.read_all().unwrap(), b"b", "an open file outlives its name");
}

#[test]
fn a_lock_has_one_holder_and_does_not_survive_a_cut() {
    let fs = disk_with(&[]);
    let held = fs.lock(Path::new("d/LOCK")).unwrap();
    assert!(held.is_some() && fs.lock(Path::new("d/LOCK")).unwrap().is_none());
    assert!(fs.crash(1).lock(Path::new("d/LOCK")).unwrap().is_some());
    drop(held);
    assert!(fs.lock(Path::new("d/LOCK")).unwrap().is_some());
}

#[test]
fn rot_changes_what_every_later_read_sees() {
    let fs = disk_with(&[("d/a", b"\x00\x00")]);
    fs.corrupt(Path::new("d/a"), 1, 0x81).unwrap();
    assert_eq!(content(&fs, "d/a").unwrap(), [0, 0x81]);
    assert_eq!(content(&fs.crash(0), "d/a").unwrap(), [0, 0x81]);
}

#[test]
fn a_killed_process_loses_nothing_until_the_power_goes() {
    let fs = disk_with(&[("d/a", b"old")]);
    open(&fs, "d/a").write_all_at(b"new", 0).unwrap();
    let left = fs.kill();
    open(&fs, "d/a").write_all_at(b"xxx", 0).unwrap();
    assert_eq!(content(&left, "d/a").unwrap(), b"new");
    assert_eq!(&left.map(Path::new("d/a")).unwrap()[..], b"new", "who wrote it does so no more");
    assert_eq!(content(&left.crash(0), "d/a").unwrap(), b"old");
    open(&left, "d/a").sync_data().unwrap();
    assert_eq!(content(&left.crash(0), "d/a").unwrap(), b"new");
}

#[test]
fn reads_fail_where_they_are_told_to() {
    let fs = disk_with(&[("d/a", b"0123")]);
    let file = open(&fs, "d/a");
    let mut two = [0; 2];
    fs.fail_read(fs.reads());
    file.read_exact_at(&mut two, 0).unwrap_err();
    file.read_exact_at(&mut two, 0).unwrap();
    fs.make_unreadable(Path::new("d/a"), 2..3).unwrap();
    file.read_exact_at(&mut two, 0).unwrap();
    let error = file.read_exact_at(&mut two, 1).unwrap_err();
    assert_eq!(error.raw_os_error(), None, "it names the file: {error}");
    assert!(error.to_string().contains("d/a") && fs.map(Path::new("d/a")).is_err());
    fs.heal();
    file.read_exact_at(&mut two, 1).unwrap();
}
