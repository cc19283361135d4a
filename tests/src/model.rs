//! What a database must hold, in plain memory: every sample that was sent, and the deletions over them.
//!
//! What is certain and what is not is kept apart. An acknowledged sample must be seen unless a deletion hides it or retention may
//! have taken it; one that was not acknowledged may be seen or not; a deletion whose call failed may be in force or not. A
//! restart settles what was open: what is not there then must never come back.

use crate::value::Value;
use cardinal_storage::database::Deletion;
use cardinal_storage::index::Matcher;
use cardinal_storage::model::{DurationMs, LabelSet, TimeRange, TimestampMs, TombstoneId, Window};
use std::collections::BTreeMap;

/// By series: each time's value.
pub type Contents = BTreeMap<LabelSet, BTreeMap<i64, Value>>;

/// One sample of a request.
#[derive(Clone, Debug)]
struct Sent {
    /// The request.
    at: u64,
    value: Value,
    acknowledged: bool,
}

/// A deletion as the model knows it.
#[derive(Clone, Debug)]
struct Deleted {
    at: u64,
    matchers: Vec<Matcher>,
    range: TimeRange,
    created: TimestampMs,
    /// Whether it may not be in force: the call failed, or one that undoes it.
    doubtful: bool,
    /// Whether it may have been made final: nobody can tell then whether a failed call undid it before.
    cleaned: bool,
}

impl Deleted {
    fn hides(&self, labels: &LabelSet, t: i64, at: u64) -> bool {
        let accepts = |m: &Matcher| m.matches(labels.get(m.name()).unwrap_or(""));
        self.at > at && self.range.contains(TimestampMs(t)) && self.matchers.iter().all(accepts)
    }
}

/// How long samples are kept, at least.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The length of the shortest windows.
    pub window: DurationMs,
    /// How long raw samples are kept, by account; without a name, those of all others.
    pub accounts: BTreeMap<String, DurationMs>,
    /// How long deletions can be undone.
    pub grace: DurationMs,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    keeping: Keeping,
    now: u64,
    sent: BTreeMap<LabelSet, BTreeMap<i64, Vec<Sent>>>,
    deletions: BTreeMap<TombstoneId, Deleted>,
    /// A deletion whose call failed.
    failed: Option<Deleted>,
    newest: TimestampMs,
    /// The latest time that retention may ever have counted back from.
    horizon: TimestampMs,
    /// Samples that retention took.
    pub expired: u64,
    /// Samples that deletions took for good.
    pub reclaimed: u64,
}

/// What may stand at one time of one series.
#[derive(Default)]
struct Wanted {
    /// The merge of what must be there.
    must: Option<Value>,
    /// Values that may be there as well.
    may: Vec<Value>,
}

impl Wanted {
    fn allows(&self, found: Option<&Value>) -> bool {
        match (&self.must, found) {
            (must, None) => must.is_none(),
            (None, Some(found)) => self.may.contains(found),
            (Some(must), Some(found)) => {
                must == found || self.may.contains(found) && must.merge(found) == *found
            }
        }
    }
}

impl Model {
    /// A model without samples.
    pub fn new(keeping: Keeping) -> Self {
        Self {
            keeping,
            now: 0,
            sent: BTreeMap::new(),
            deletions: BTreeMap::new(),
            failed: None,
            newest: TimestampMs::MIN,
            horizon: TimestampMs::MIN,
            expired: 0,
            reclaimed: 0,
        }
    }

    /// The newest sample ever sent.
    pub fn newest(&self) -> TimestampMs {
        self.newest
    }

    /// Begins a request or a deletion.
    pub fn begin(&mut self) {
        self.now += 1;
    }

    /// A sample of the request that was begun last.
    pub fn send(&mut self, labels: &LabelSet, t: TimestampMs, value: Value) {
        let sent = Sent { at: self.now, value, acknowledged: false };
        self.sent.entry(labels.clone()).or_default().entry(t.0).or_default().push(sent);
        self.newest = self.newest.max(t);
    }

    /// The request that was begun last is acknowledged.
    pub fn acknowledge(&mut self) {
        let now = self.now;
        self.samples_mut().filter(|s| s.at == now).for_each(|s| s.acknowledged = true);
    }

    /// The samples of the request that was begun last were refused.
    pub fn withdraw(&mut self) {
        let now = self.now;
        self.forget(|_, _, sent| sent.at == now);
    }

    /// Retention has looked at the clock.
    pub fn look_at_clock(&mut self, clock: TimestampMs) {
        self.horizon = self.horizon.max(clock.min(self.newest));
    }

    /// A deletion begun last; without an id its call failed.
    pub fn delete(&mut self, id: Option<TombstoneId>, matchers: &[Matcher], range: TimeRange) {
        let deleted = Deleted {
            at: self.now,
            matchers: matchers.to_vec(),
            range,
            created: self.newest,
            doubtful: id.is_none(),
            cleaned: false,
        };
        match id {
            Some(id) => _ = self.deletions.insert(id, deleted),
            None => self.failed = Some(deleted),
        }
    }

    /// The oldest deletion.
    pub fn oldest_deletion(&self) -> Option<TombstoneId> {
        self.deletions.keys().next().copied()
    }

    /// A deletion was undone; or the call that should do so failed.
    pub fn undelete(&mut self, id: TombstoneId, done: bool) {
        if done {
            self.deletions.remove(&id);
        } else if let Some(deleted) = self.deletions.get_mut(&id) {
            deleted.doubtful = true;
        }
    }

    /// Deletions are made final.
    pub fn clean(&mut self) {
        self.deletions.values_mut().for_each(|d| d.cleaned = true);
    }

    /// A sample that was sent once.
    pub fn some_sample(&self, draw: u64) -> Option<(LabelSet, TimestampMs, Value)> {
        let series = self.sent.iter().nth(draw as usize % self.sent.len().max(1))?;
        let (t, sent) = series.1.iter().nth((draw >> 20) as usize % series.1.len())?;
        Some((series.0.clone(), TimestampMs(*t), sent.last()?.value.clone()))
    }

    /// Takes over what the database says of its deletions. One that it does not have any more has been reclaimed, or, where a call
    /// to undo it failed, undone.
    pub fn sync_deletions(&mut self, listed: &[Deletion]) -> Result<(), String> {
        for deletion in listed {
            let id = deletion.tombstone.id;
            if !self.deletions.contains_key(&id) {
                let failed = self.failed.take().ok_or_else(|| format!("deletion {id} was never made"))?;
                self.deletions.insert(id, Deleted { doubtful: false, ..failed });
            }
        }
        let gone = self.deletions.keys().filter(|id| !listed.iter().any(|d| d.tombstone.id == **id));
        for id in gone.copied().collect::<Vec<_>>() {
            let Some(deleted) = self.deletions.remove(&id) else { continue };
            let is_over = deleted.created + self.keeping.grace <= self.newest;
            match (deleted.doubtful, deleted.cleaned || is_over) {
                (true, false) => {}
                (true, true) => self.doubt(&deleted),
                (false, true) => self.reclaim(&deleted),
                (false, false) => return Err(format!("deletion {id} is gone: {deleted:?}")),
            }
        }
        Ok(())
    }

    /// The database was opened again and says this: what was open is settled.
    pub fn settle(&mut self, found: &Contents, listed: &[Deletion]) -> Result<(), String> {
        self.sync_deletions(listed)?;
        self.failed = None;
        self.deletions.values_mut().for_each(|d| d.doubtful = false);
        self.check(found)?;
        let kept = self.clone();
        let mut expired = 0;
        self.forget(|labels, t, sent| {
            let there = found.get(labels).and_then(|p| p.get(&t));
            let is_hidden = kept.deletions.values().any(|d| d.hides(labels, t, sent.at));
            // Of two values the one that would be seen.
            let wins = |there: &Value| there.merge(&sent.value) != *there;
            let is_gone = !is_hidden && there.is_none_or(wins);
            expired += u64::from(is_gone && sent.acknowledged);
            is_gone
        });
        self.expired += expired;
        Ok(())
    }

    /// Whether a database may say this. The error names the first sample that is wrong.
    pub fn check(&self, found: &Contents) -> Result<(), String> {
        for (labels, points) in &self.sent {
            for (t, sent) in points {
                let wanted = self.wanted(labels, *t, sent);
                let there = found.get(labels).and_then(|p| p.get(t));
                if !wanted.allows(there) {
                    let must = wanted.must;
                    return Err(format!(
                        "{labels} at {t}: expected {must:?}, found {there:?}; sent {sent:?}"
                    ));
                }
            }
        }
        for (labels, points) in found {
            let known = self.sent.get(labels);
            if let Some(t) = points.keys().find(|t| !known.is_some_and(|k| k.contains_key(t))) {
                return Err(format!("{labels} at {t}: never sent, deleted for good or lost before"));
            }
        }
        Ok(())
    }

    fn wanted(&self, labels: &LabelSet, t: i64, sent: &[Sent]) -> Wanted {
        let mut wanted = Wanted::default();
        let may_expire = self.may_expire(labels, t);
        for s in sent {
            let mut hiding = self.deletions.values().filter(|d| d.hides(labels, t, s.at)).peekable();
            let is_doubtful =
                hiding.peek().is_some() || self.failed.as_ref().is_some_and(|d| d.hides(labels, t, s.at));
            if hiding.any(|d| !d.doubtful) {
                continue;
            }
            let v = &s.value;
            if s.acknowledged && !is_doubtful && !may_expire {
                wanted.must = Some(wanted.must.map_or_else(|| v.clone(), |m| m.merge(v)));
            } else {
                wanted.may.push(v.clone());
            }
        }
        wanted
    }

    fn may_expire(&self, labels: &LabelSet, t: i64) -> bool {
        let accounts = &self.keeping.accounts;
        let own = accounts.get(labels.get("account").unwrap_or(""));
        let Some(kept) = own.or_else(|| accounts.get("")) else { return false };
        Window::of(TimestampMs(t), self.keeping.window).end() + *kept <= self.horizon
    }

    fn reclaim(&mut self, deleted: &Deleted) {
        let mut reclaimed = 0;
        self.forget(|labels, t, sent| {
            let hides = deleted.hides(labels, t, sent.at);
            reclaimed += u64::from(hides);
            hides
        });
        self.reclaimed += reclaimed;
    }

    /// What a deletion hid may be there, or reclaimed.
    fn doubt(&mut self, deleted: &Deleted) {
        for (labels, points) in &mut self.sent {
            for (t, sent) in points {
                let hidden = sent.iter_mut().filter(|s| deleted.hides(labels, *t, s.at));
                hidden.for_each(|s| s.acknowledged = false);
            }
        }
    }

    fn samples_mut(&mut self) -> impl Iterator<Item = &mut Sent> {
        self.sent.values_mut().flat_map(BTreeMap::values_mut).flatten()
    }

    fn forget(&mut self, mut goes: impl FnMut(&LabelSet, i64, &Sent) -> bool) {
        self.sent.retain(|labels, points| {
            points.retain(|t, sent| {
                sent.retain(|s| !goes(labels, *t, s));
                !sent.is_empty()
            });
            !points.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let accounts = BTreeMap::from([(String::new(), DurationMs::hours(24))]);
        Model::new(Keeping { window: DurationMs::hours(2), accounts, grace: DurationMs::hours(1) })
    }

    fn labels() -> LabelSet {
        LabelSet::from_pairs([("__name__", "m")]).unwrap()
    }

    fn found(points: &[(i64, f64)]) -> Contents {
        let points: BTreeMap<i64, Value> = points.iter().map(|(t, v)| (*t, (*v).into())).collect();
        if points.is_empty() { Contents::new() } else { [(labels(), points)].into() }
    }

    /// Sends one sample, acknowledged or not.
    fn send(model: &mut Model, t: i64, v: f64, acknowledged: bool) {
        model.begin();
        model.send(&labels(), TimestampMs(t), v.into());
        if acknowledged {
            model.acknowledge();
        }
    }

    #[track_caller]
    fn check(model: &Model, points: &[(i64, f64)], want: bool) {
        assert_eq!(
            model.check(&found(points)).is_ok(),
            want,
            "{points:?}: {:?}",
            model.check(&found(points))
        );
    }

    #[test]
    fn what_is_acknowledged_must_be_there_and_nothing_that_was_not_sent() {
        let mut m = model();
        send(&mut m, 1, 1.0, true);
        send(&mut m, 2, 2.0, false);
        check(&m, &[(1, 1.0)], true);
        check(&m, &[(1, 1.0), (2, 2.0)], true);
        check(&m, &[(2, 2.0)], false);
        check(&m, &[(1, 1.5)], false);
        check(&m, &[(1, 1.0), (3, 1.0)], false);
        send(&mut m, 1, 0.0, true);
        check(&m, &[(1, 0.0)], false);
        send(&mut m, 1, 5.0, false);
        check(&m, &[(1, 5.0)], true);
        check(&m, &[(1, 1.0)], true);
        // A restart without them: they are lost for ever.
        m.settle(&found(&[(1, 1.0)]), &[]).unwrap();
        check(&m, &[(1, 5.0)], false);
        check(&m, &[(1, 1.0), (2, 2.0)], false);
    }

    #[test]
    fn deletions_hide_what_was_there_before_and_are_doubtful_where_they_failed() {
        let mut m = model();
        let all = [Matcher::equal("__name__", "m")];
        send(&mut m, 1, 1.0, true);
        m.begin();
        m.delete(Some(TombstoneId(7)), &all, TimeRange::ALL);
        send(&mut m, 2, 2.0, true);
        check(&m, &[(2, 2.0)], true);
        check(&m, &[(1, 1.0), (2, 2.0)], false);
        m.undelete(TombstoneId(7), false);
        check(&m, &[(1, 1.0), (2, 2.0)], true);
        check(&m, &[(2, 2.0)], true);
        m.undelete(TombstoneId(7), true);
        check(&m, &[(2, 2.0)], false);
        m.begin();
        m.delete(None, &all, TimeRange::ALL);
        check(&m, &[], true);
        check(&m, &[(1, 1.0), (2, 2.0)], true);
        m.settle(&found(&[(1, 1.0), (2, 2.0)]), &[]).unwrap();
        check(&m, &[], false);
    }

    #[test]
    fn a_deletion_may_vanish_once_its_grace_is_over() {
        let mut m = model();
        send(&mut m, 1, 1.0, true);
        m.begin();
        m.delete(Some(TombstoneId(7)), &[Matcher::equal("__name__", "m")], TimeRange::ALL);
        m.clone().sync_deletions(&[]).unwrap_err();
        send(&mut m, 2 * 3_600_000, 2.0, true);
        m.sync_deletions(&[]).unwrap();
        assert_eq!(m.reclaimed, 1);
        check(&m, &[(1, 1.0), (2 * 3_600_000, 2.0)], false);
        check(&m, &[(2 * 3_600_000, 2.0)], true);
    }

    #[test]
    fn retention_may_take_whole_windows_by_the_lesser_of_clock_and_newest() {
        let mut m = model();
        send(&mut m, 1, 1.0, true);
        m.look_at_clock(TimestampMs::MAX);
        check(&m, &[], false);
        let late = DurationMs::hours(26).0;
        send(&mut m, late, 2.0, true);
        m.look_at_clock(TimestampMs(late - 1));
        check(&m, &[(late, 2.0)], false);
        m.look_at_clock(TimestampMs(late));
        check(&m, &[(late, 2.0)], true);
        check(&m, &[(1, 1.0), (late, 2.0)], true);
    }
}
