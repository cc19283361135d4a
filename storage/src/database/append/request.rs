//! One request on its way into head and log.

use super::refusal::{REFUSED_MAX, refused_late, refused_new, series_text, too_many_labels};
use super::{AppendRow, LOG_BATCH_BYTES, RefusalClass, Refused, Resolve};
use crate::codec::{self, ChunkKind};
use crate::database::Database;
use crate::database::aliases::Alias;
use crate::database::limits::{Over, Rooms};
use crate::database::memory::{Admission, Buffers};
use crate::head::series::{SampleOutcome, SeriesTable, histogram_bits};
use crate::head::shard::Shard;
use crate::head::symbols::HeadIndex;
use crate::model::{
    Fingerprint, HistogramError, HistogramSample, LabelSet, Sample, SeriesSlot, ShardId, TimeRange,
    TimestampMs, is_stale, shard_of_account, shard_of_fingerprint, stale_nan,
};
use crate::wal::BatchBuilder;
use std::collections::HashSet;
use std::ops::Range;

/// Fingerprints looked up at once, so that their cache misses overlap.
const LOOKUP_BATCH: usize = 64;
/// Series registered in one hold of the locks.
const REGISTER_BATCH: usize = 256;

/// What a request fills as it goes on.
#[derive(Debug, Default)]
pub(super) struct Progress<'a> {
    /// What the log does not have yet.
    pub(super) batch: BatchBuilder,
    pub(super) tally: Tally,
    conflicts: Vec<Conflict>,
    invalid: Vec<Invalid>,
    /// The histogram in hand as the log has it.
    encoded: Vec<u8>,
    over_limit: Vec<OverLimit<'a>>,
    /// Series that were resolved and then refused, for a limit or for want of memory.
    refused_series: Vec<Fingerprint>,
    /// Whether late samples are to come again.
    late_waits: bool,
    /// Rows that had some, one after another, and how many; their messages are written after the locks are gone.
    waiting: Vec<(u32, u64)>,
    /// The time of the newest sample that there was no room for.
    newest_refused: Option<TimestampMs>,
}

impl Progress<'_> {
    pub(super) fn new(batch: BatchBuilder) -> Self {
        Self { batch, ..Self::default() }
    }

    /// Notes a late sample of a row that is to come again.
    fn wait(&mut self, row: u32) {
        match self.waiting.last_mut() {
            Some((last, samples)) if *last == row => *samples += 1,
            _ => self.waiting.push((row, 1)),
        }
    }
}

/// What a request has come to so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) written: u64,
    pub(super) duplicates: u64,
    pub(super) late: u64,
    pub(super) registered: u64,
    pub(super) aliased: u64,
    pub(super) refused: Vec<Refused>,
    pub(super) refused_by_class: [u64; RefusalClass::ALL.len()],
}

impl Tally {
    fn count(&mut self, outcome: SampleOutcome) {
        self.written += 1;
        self.duplicates += u64::from(outcome == SampleOutcome::Duplicate);
        self.late += u64::from(outcome == SampleOutcome::Late);
    }

    fn refuse(&mut self, samples: u64, refused: Refused) {
        self.refused_by_class[refused.class as usize] += samples;
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(refused);
        }
    }
}

/// A sample that contradicts one that is there; its message is written after the locks are gone.
#[derive(Debug)]
struct Conflict {
    row: u32,
    t: TimestampMs,
    /// `None` of a histogram.
    v: Option<f64>,
}

/// A histogram that is none; its message is written after the locks are gone.
#[derive(Debug)]
struct Invalid {
    row: u32,
    t: TimestampMs,
    why: HistogramError,
}

/// The samples of a request, of one kind.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    Floats(&'a [Sample]),
    Histograms(&'a [HistogramSample]),
}

impl Values<'_> {
    /// The smallest range that holds the times of those samples that there are in `range`.
    pub(super) fn extent(&self, range: Range<usize>) -> Option<TimeRange> {
        fn of(times: impl Iterator<Item = TimestampMs>) -> Option<TimeRange> {
            let fold = |(min, max): (TimestampMs, TimestampMs), t: TimestampMs| (min.min(t), max.max(t));
            let (min, max) = times.fold((TimestampMs::MAX, TimestampMs::MIN), fold);
            (min <= max).then(|| TimeRange::closed(min, max))
        }
        let clip = |len: usize| range.start.min(len)..range.end.min(len);
        match self {
            Self::Floats(samples) => of(samples[clip(samples.len())].iter().map(|s| s.t)),
            Self::Histograms(samples) => of(samples[clip(samples.len())].iter().map(|h| h.t)),
        }
    }
}

/// Where in the log a series' samples go.
#[derive(Clone, Copy)]
struct Place {
    shard: ShardId,
    slot: SeriesSlot,
    generation: u8,
}

/// A row of a new series for which there is no room; its message is written after the locks are gone.
#[derive(Debug)]
struct OverLimit<'a> {
    row: u32,
    account: &'a str,
    over: Over,
}

/// A row of a series that is not in the head, as far as its section tells.
#[derive(Clone, Copy)]
struct Unknown {
    row: u32,
    /// Of the series, where the form of the section is known, else of the section.
    fingerprint: Fingerprint,
    shard: ShardId,
}

/// What becomes of a resolved row, if its series is new.
enum Verdict {
    /// It is registered with this row.
    New(Vec<u8>),
    /// It is not new.
    Known,
    Over(Over),
    TooLong,
    NoRoom(Admission),
}

/// A row with the label set that it was resolved to.
struct Resolved {
    row: u32,
    fingerprint: Fingerprint,
    shard: ShardId,
    labels: LabelSet,
}

/// A request on its way in.
pub(super) struct Request<'a> {
    pub(super) database: &'a Database,
    pub(super) rows: &'a [AppendRow<'a>],
    pub(super) values: Values<'a>,
}

impl<'a> Request<'a> {
    /// Appends all of it: known series first, then those that have to be resolved.
    pub(super) fn append(&self, resolve: &dyn Resolve, progress: &mut Progress<'a>) {
        let unknown = self.append_known(progress);
        if !unknown.is_empty() {
            self.append_unknown(unknown, resolve, progress);
        }
        self.report(progress);
    }

    /// Appends the rows of series whose section is known as it came; returns the others.
    fn append_known(&self, progress: &mut Progress<'a>) -> Vec<u32> {
        let mut unknown = Vec::new();
        let mut found: Vec<Option<SeriesSlot>> = Vec::with_capacity(LOOKUP_BATCH);
        progress.late_waits = self.database.buffers() == Buffers::Full;
        for (shard, rows) in self.by_shard(0..self.rows.len() as u32, |r| self.rows[r as usize].shard) {
            let shard = self.database.head.shard(shard);
            let mut series = shard.series.lock();
            for rows in rows.chunks(LOOKUP_BATCH) {
                let before = series.buffer_bytes();
                let wires = || rows.iter().map(|r| self.rows[*r as usize].wire);
                std::hint::black_box(series.touch(wires()));
                found.clear();
                found.extend(wires().map(|w| series.find(w)));
                for (row, slot) in rows.iter().zip(&found) {
                    match slot {
                        Some(slot) => self.append_samples(*row, *slot, shard.id, &mut series, progress),
                        None => unknown.push(*row),
                    }
                }
                if series.buffer_bytes() != before {
                    progress.late_waits = self.database.relieve(shard, &mut series) == Buffers::Full;
                }
            }
            self.log(progress);
            shard.tell_series_bytes(&series);
        }
        unknown
    }

    /// Appends one row's samples to its series, under the shard's lock.
    fn append_samples(
        &self,
        row: u32,
        slot: SeriesSlot,
        shard: ShardId,
        series: &mut SeriesTable,
        progress: &mut Progress<'a>,
    ) {
        let Range { start, end } = self.rows[row as usize].samples;
        let range = start as usize..end as usize;
        let place = Place { shard, slot, generation: series.record(slot).map_or(0, |r| r.generation) };
        match self.values {
            Values::Floats(samples) => {
                samples[range].iter().for_each(|s| self.append_float(row, place, *s, series, progress));
            }
            Values::Histograms(histograms) => {
                for h in &histograms[range] {
                    self.append_histogram(row, place, h, series, progress);
                    self.log_if_long(progress);
                }
            }
        }
        self.log_if_long(progress);
    }

    #[inline]
    fn append_float(
        &self,
        row: u32,
        Place { shard, slot, generation }: Place,
        Sample { t, v }: Sample,
        series: &mut SeriesTable,
        progress: &mut Progress<'a>,
    ) {
        if progress.late_waits && series.is_late(slot, t) {
            return progress.wait(row);
        }
        let outcome = series.append(slot, t, v, &self.database.head.log);
        match outcome {
            SampleOutcome::Appended | SampleOutcome::Late => {
                progress.batch.sample(shard, slot, generation, t, v)
            }
            SampleOutcome::Duplicate => {}
            SampleOutcome::Conflict => return progress.conflicts.push(Conflict { row, t, v: Some(v) }),
        }
        progress.tally.count(outcome);
    }

    fn append_histogram(
        &self,
        row: u32,
        place: Place,
        sample: &HistogramSample,
        series: &mut SeriesTable,
        progress: &mut Progress<'a>,
    ) {
        let HistogramSample { t, ref h } = *sample;
        if is_stale(h.sum) {
            return self.append_float(row, place, Sample { t, v: stale_nan() }, series, progress);
        }
        if progress.late_waits && series.is_late(place.slot, t) {
            return progress.wait(row);
        }
        if let Err(why) = h.check() {
            return progress.invalid.push(Invalid { row, t, why });
        }
        progress.encoded.clear();
        codec::put_histogram(h, &mut progress.encoded);
        let kind: ChunkKind = codec::kind_of(h);
        let bits = histogram_bits(kind, &progress.encoded);
        let outcome = series.append_histogram(place.slot, sample, bits, &self.database.head.log);
        match outcome {
            SampleOutcome::Appended | SampleOutcome::Late => {
                let of = (place.slot, place.generation);
                progress.batch.histogram(place.shard, of, t, (kind, &progress.encoded));
            }
            SampleOutcome::Duplicate => {}
            SampleOutcome::Conflict => return progress.conflicts.push(Conflict { row, t, v: None }),
        }
        progress.tally.count(outcome);
    }

    fn log_if_long(&self, progress: &mut Progress<'a>) {
        if progress.batch.len() >= LOG_BATCH_BYTES {
            self.database.wal.append(&mut progress.batch);
        }
    }

    /// Resolves rows that no series was found for, then registers what is new.
    fn append_unknown(&self, rows: Vec<u32>, resolve: &dyn Resolve, progress: &mut Progress<'a>) {
        let unknown = self.append_aliased(rows, progress);
        let rest = self.refuse_again(unknown, progress);
        let resolved = self.resolve(&rest, resolve, progress);
        let indices = 0..resolved.len() as u32;
        for (shard, of_shard) in self.by_shard(indices, |i| resolved[i as usize].shard) {
            for some in of_shard.chunks(REGISTER_BATCH) {
                self.register(self.database.head.shard(shard), some, &resolved, progress);
            }
        }
        let forms = resolved.iter().filter_map(|r| {
            let wire = self.rows[r.row as usize].wire;
            (wire != r.fingerprint).then_some((wire, Alias { fingerprint: r.fingerprint, shard: r.shard }))
        });
        self.database.aliases.lock().extend(forms);
    }

    /// Appends rows whose section is another form of a known series'; returns the others.
    fn append_aliased(&self, rows: Vec<u32>, progress: &mut Progress<'a>) -> Vec<Unknown> {
        let as_it_came = |row: u32| {
            let AppendRow { wire, shard, .. } = self.rows[row as usize];
            Unknown { row, fingerprint: wire, shard }
        };
        let aliases: Vec<Option<Alias>> = {
            let known = self.database.aliases.lock();
            if known.is_empty() {
                return rows.into_iter().map(as_it_came).collect();
            }
            rows.iter().map(|r| known.get(self.rows[*r as usize].wire)).collect()
        };
        let aliased = |i: &u32| aliases[*i as usize].is_some();
        let shard_of = |i: u32| aliases[i as usize].map_or(ShardId(0), |a| a.shard);
        let others = (0..rows.len()).filter(|i| aliases[*i].is_none());
        let mut rest: Vec<Unknown> = others.map(|i| as_it_came(rows[i])).collect();
        for (shard, of_shard) in self.by_shard((0..rows.len() as u32).filter(aliased), shard_of) {
            let shard = self.database.head.shard(shard);
            let mut series = shard.series.lock();
            for i in of_shard {
                let Some(alias) = aliases[i as usize] else { continue };
                let row = rows[i as usize];
                match series.find(alias.fingerprint) {
                    Some(slot) => {
                        progress.tally.aliased += 1;
                        self.append_samples(row, slot, shard.id, &mut series, progress);
                    }
                    None => rest.push(Unknown { row, fingerprint: alias.fingerprint, shard: alias.shard }),
                }
            }
            progress.late_waits = self.database.relieve(shard, &mut series) == Buffers::Full;
            self.log(progress);
        }
        rest.sort_unstable_by_key(|u| u.row);
        rest
    }

    /// Refuses again what was refused lately, as far as there still is no room; returns the others. A probe and a look at the account
    /// for each: no labels are checked, sorted or interned.
    fn refuse_again(&self, unknown: Vec<Unknown>, progress: &mut Progress<'a>) -> Vec<Unknown> {
        let Some(lately) = self.database.limits.refused_lately(unknown.iter().map(|u| u.fingerprint)) else {
            return unknown;
        };
        let admission = self.database.admission();
        let (mut rest, mut again) = (Vec::new(), Vec::new());
        unknown
            .into_iter()
            .zip(lately)
            .for_each(|(u, lately)| if lately { &mut again } else { &mut rest }.push(u));
        for (shard, of_shard) in self.by_shard(0..again.len() as u32, |i| again[i as usize].shard) {
            let of_shard = || of_shard.iter().map(|i| again[*i as usize]);
            let mut rooms = self.rooms(of_shard().map(|u| self.account(u.row)));
            let shard = self.database.head.shard(shard);
            let index = shard.index.read();
            let series = shard.series.lock();
            // Rows of an account mostly come together, and nothing changes its room here.
            let mut last: Option<(&[u8], &str, Option<Over>)> = None;
            for which in of_shard() {
                let bytes = self.rows[which.row as usize].account;
                let (account, over) = match last {
                    Some((of, account, over)) if of == bytes => (account, over),
                    _ => {
                        let account = self.account(which.row);
                        (account, rooms.as_mut().and_then(|rooms| rooms.over(account, &index)))
                    }
                };
                last = Some((bytes, account, over));
                // Another request may have registered it meanwhile.
                let is_new = series.find(which.fingerprint).is_none();
                match over {
                    Some(over) if is_new => {
                        progress.over_limit.push(OverLimit { row: which.row, account, over })
                    }
                    None if is_new && admission != Admission::Open => {
                        self.refuse_for_memory(which.row, admission, progress)
                    }
                    _ => rest.push(which),
                }
            }
        }
        rest.sort_unstable_by_key(|u| u.row);
        rest
    }

    fn section(&self, row: u32) -> &'a [u8] {
        self.rows[row as usize].section
    }

    /// The account of a row whose labels are known to be valid.
    fn account(&self, row: u32) -> &'a str {
        std::str::from_utf8(self.rows[row as usize].account).unwrap_or("")
    }

    /// What is left for new series of these accounts.
    fn rooms<'r>(&'r self, accounts: impl Iterator<Item = &'r str>) -> Option<Rooms<'r>> {
        let database = self.database;
        database.limits.rooms(&database.head, database.clock.monotonic(), accounts)
    }

    fn resolve(&self, rows: &[Unknown], resolve: &dyn Resolve, progress: &mut Progress<'a>) -> Vec<Resolved> {
        let mut resolved = Vec::with_capacity(rows.len());
        for row in rows.iter().map(|u| u.row) {
            let r = &self.rows[row as usize];
            match resolve.resolve(r.section) {
                Ok(labels) => {
                    let fingerprint = labels.fingerprint(self.database.seed());
                    let shard = match labels.get(&self.database.head.account_label) {
                        Some(account) => shard_of_account(account.as_bytes(), self.database.shards()),
                        None => shard_of_fingerprint(fingerprint, self.database.shards()),
                    };
                    resolved.push(Resolved { row, fingerprint, shard, labels });
                }
                Err(refused) => progress.tally.refuse(r.sample_count(), refused),
            }
        }
        resolved
    }

    /// Registers series of one shard, unless another request was faster, and appends their samples.
    fn register<'r>(
        &'r self,
        shard: &Shard,
        which: &[u32],
        resolved: &'r [Resolved],
        progress: &mut Progress<'a>,
    ) {
        let of_shard = || which.iter().map(|i| &resolved[*i as usize]);
        let (account_label, seed) = (&self.database.head.account_label, self.database.seed());
        let families: Vec<u64> = of_shard().map(|r| r.labels.key(account_label, seed).family).collect();
        let account = |r: &'r Resolved| r.labels.get(account_label).unwrap_or("");
        let mut rooms = self.rooms(of_shard().map(account));
        let mut index = shard.index.write();
        let verdicts = self.verdicts(shard, &mut index, rooms.as_mut(), which, resolved);
        let mut new = Vec::new();
        {
            let mut series = shard.series.lock();
            for (at, (r, verdict)) in of_shard().zip(&verdicts).enumerate() {
                let slot = match (series.find(r.fingerprint), verdict) {
                    (Some(slot), _) => slot,
                    (None, Verdict::New(label_row)) => {
                        let (slot, generation) = series.register(r.fingerprint, families[at]);
                        progress.batch.registration(shard.id, slot, generation, r.labels.section());
                        new.push((slot, label_row, account(r)));
                        slot
                    }
                    (None, verdict) => {
                        self.refuse(r, verdict, progress);
                        continue;
                    }
                };
                self.append_samples(r.row, slot, shard.id, &mut series, progress);
            }
            self.log(progress);
            self.database.relieve(shard, &mut series);
        }
        progress.tally.registered += new.len() as u64;
        for (slot, label_row, account) in &new {
            let interval = rooms.as_mut().map_or(0, |rooms| rooms.interval(account, &index));
            index.insert(*slot, label_row);
            index.created(*slot, interval);
        }
        if let Some(rooms) = &mut rooms {
            rooms.registered(new.len() as u64);
        }
        shard.tell_index_bytes(&index);
    }

    /// Decides what becomes of rows whose series are new. Only what is registered is interned: what is refused leaves nothing.
    fn verdicts<'r>(
        &self,
        shard: &Shard,
        index: &mut HeadIndex,
        mut rooms: Option<&mut Rooms<'r>>,
        which: &[u32],
        resolved: &'r [Resolved],
    ) -> Vec<Verdict> {
        match self.database.admission() {
            Admission::Open => {}
            closed => return which.iter().map(|_| Verdict::NoRoom(closed)).collect(),
        }
        let of_shard = || which.iter().map(|i| &resolved[*i as usize]);
        let known: Vec<bool> = match rooms {
            Some(_) => {
                let series = shard.series.lock();
                of_shard().map(|r| series.find(r.fingerprint).is_some()).collect()
            }
            None => Vec::new(),
        };
        let mut admitted = HashSet::new();
        let mut verdict = |(at, r): (usize, &'r Resolved)| {
            if let Some(rooms) = rooms.as_deref_mut() {
                if known[at] {
                    return Verdict::Known;
                }
                // A request may have several rows of one series.
                if !admitted.contains(&r.fingerprint) {
                    let account = r.labels.get(&self.database.head.account_label).unwrap_or("");
                    if let Err(over) = rooms.take(account, index) {
                        return Verdict::Over(over);
                    }
                    admitted.insert(r.fingerprint);
                }
            }
            if !index.has_room() {
                return Verdict::NoRoom(Admission::Refused);
            }
            index.row_of(&r.labels).map_or(Verdict::TooLong, Verdict::New)
        };
        of_shard().enumerate().map(&mut verdict).collect()
    }

    fn refuse(&self, r: &Resolved, verdict: &Verdict, progress: &mut Progress<'a>) {
        let refused = match verdict {
            Verdict::Over(over) => {
                progress.over_limit.push(OverLimit { row: r.row, account: self.account(r.row), over: *over });
                progress.refused_series.push(r.fingerprint);
                return;
            }
            Verdict::NoRoom(closed) => {
                progress.refused_series.push(r.fingerprint);
                return self.refuse_for_memory(r.row, *closed, progress);
            }
            // A series that left between the two looks: the sender repeats it.
            Verdict::New(_) | Verdict::Known => {
                return self.refuse_for_memory(r.row, Admission::Flushing, progress);
            }
            Verdict::TooLong => too_many_labels(&r.labels),
        };
        progress.tally.refuse(self.rows[r.row as usize].sample_count(), refused);
    }

    fn refuse_for_memory(&self, row: u32, admission: Admission, progress: &mut Progress<'a>) {
        progress.newest_refused = progress.newest_refused.max(self.newest_of(row));
        let is_told = progress.tally.refused.len() < REFUSED_MAX;
        let refused = refused_new(self.section(row), admission, is_told);
        progress.tally.refuse(self.rows[row as usize].sample_count(), refused);
    }

    /// The time of the newest sample of a row.
    fn newest_of(&self, row: u32) -> Option<TimestampMs> {
        let Range { start, end } = self.rows[row as usize].samples;
        let range = start as usize..end as usize;
        match self.values {
            Values::Floats(samples) => samples[range].iter().map(|s| s.t).max(),
            Values::Histograms(histograms) => histograms[range].iter().map(|h| h.t).max(),
        }
    }

    /// Hands what has gathered to the log. Under the shard's lock: see the order of locks.
    fn log(&self, progress: &mut Progress<'a>) {
        if !progress.batch.is_empty() {
            self.database.wal.append(&mut progress.batch);
        }
    }

    /// Counts what limits refused, by account, and writes the messages of the first.
    fn report_over_limit(&self, progress: &mut Progress<'a>) {
        let limits = &self.database.limits;
        if !progress.refused_series.is_empty() {
            limits.remember(progress.refused_series.iter().copied());
        }
        if progress.over_limit.is_empty() {
            return;
        }
        let row = |o: &OverLimit<'_>| &self.rows[o.row as usize];
        let times = progress.over_limit.iter().map(|o| self.newest_of(o.row)).max();
        progress.newest_refused = progress.newest_refused.max(times.flatten());
        limits.count(progress.over_limit.iter().map(|o| (o.account, o.over, row(o).sample_count())));
        for (n, refused) in progress.over_limit.iter().enumerate() {
            let AppendRow { section, .. } = *row(refused);
            let message = match n < REFUSED_MAX {
                false => String::new(),
                true => format!("{}: {}", series_text(section), refused.over.reason(refused.account)),
            };
            let class = refused.over.class();
            progress.tally.refuse(row(refused).sample_count(), Refused { class, message });
        }
    }

    /// Writes the messages of conflicts, now that no lock is held.
    fn report(&self, progress: &mut Progress<'a>) {
        self.report_over_limit(progress);
        progress.newest_refused.into_iter().for_each(|t| self.database.note_refused(t));
        for (n, (row, samples)) in progress.waiting.iter().enumerate() {
            progress.tally.refuse(*samples, refused_late(self.section(*row), n < REFUSED_MAX));
        }
        for (n, conflict) in progress.conflicts.iter().enumerate() {
            let message = match n < REFUSED_MAX {
                false => String::new(),
                true => {
                    let series = series_text(self.rows[conflict.row as usize].section);
                    let t = conflict.t;
                    match conflict.v {
                        Some(v) => format!("{series}: another value than {v} is stored at {t}"),
                        None => format!("{series}: a float or another histogram is stored at {t}"),
                    }
                }
            };
            progress.tally.refuse(1, Refused { class: RefusalClass::Conflict, message });
        }
        for (n, Invalid { row, t, why }) in progress.invalid.iter().enumerate() {
            let message = match n < REFUSED_MAX {
                false => String::new(),
                true => {
                    format!("{}: the histogram at {t}: {why}", series_text(self.rows[*row as usize].section))
                }
            };
            progress.tally.refuse(1, Refused { class: RefusalClass::InvalidHistogram, message });
        }
    }

    /// The numbers `of` things, grouped by shard, in order within each.
    fn by_shard(
        &self,
        of: impl Iterator<Item = u32>,
        shard: impl Fn(u32) -> ShardId,
    ) -> Vec<(ShardId, Vec<u32>)> {
        let mut groups: Vec<Vec<u32>> = vec![Vec::new(); self.database.head.shards.len()];
        of.for_each(|i| groups[shard(i).index()].push(i));
        let id = |(at, group)| (ShardId(at as u16), group);
        groups.into_iter().enumerate().map(id).filter(|(_, g)| !g.is_empty()).collect()
    }
}
