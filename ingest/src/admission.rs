//! The gate before all work: how many bytes of requests may be in memory at once.
//!
//! Nobody waits here. Who finds the gate closed is told so at once and comes back later, so that a burst costs the senders
//! patience and the server no memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The gate.
#[derive(Debug)]
pub struct Admission {
    bytes_max: u64,
    bytes: AtomicU64,
}

/// Too much is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{in_flight} bytes of write requests are in flight and {wanted} more would exceed {max}; try again later"
)]
pub struct Overloaded {
    /// Bytes admitted before.
    pub in_flight: u64,
    /// Bytes asked for.
    pub wanted: u64,
    /// The limit.
    pub max: u64,
}

/// Bytes in flight, given back on drop.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Admission>,
    bytes: u64,
}

impl Admission {
    /// A gate that admits `bytes_max` at once.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: AtomicU64::new(0) })
    }

    /// Bytes in flight now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets `bytes` in, or says that there is no room now.
    pub fn admit(self: &Arc<Self>, bytes: u64) -> Result<Permit, Overloaded> {
        let mut permit = Permit { gate: self.clone(), bytes: 0 };
        permit.grow(bytes)?;
        Ok(permit)
    }
}

impl Permit {
    /// Lets `more` in on the same permit. What is refused leaves the permit as it was. A request that is alone is let in
    /// whatever its size, which other limits bound: otherwise it would never be.
    pub fn grow(&mut self, more: u64) -> Result<(), Overloaded> {
        let Admission { bytes_max, bytes } = &*self.gate;
        let admitted = bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
            let after = before.checked_add(more)?;
            (after <= *bytes_max || before == self.bytes).then_some(after)
        });
        admitted.map_err(|in_flight| Overloaded { in_flight, wanted: more, max: *bytes_max })?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_flight_are_bounded_and_given_back() {
        let gate = Admission::new(100);
        let mut a = gate.admit(60).unwrap();
        assert_eq!(gate.admit(41).unwrap_err(), Overloaded { in_flight: 60, wanted: 41, max: 100 });
        let b = gate.admit(30).unwrap();
        assert_eq!(a.grow(11).unwrap_err(), Overloaded { in_flight: 90, wanted: 11, max: 100 });
        a.grow(10).unwrap();
        assert_eq!(gate.bytes(), 100);
        drop(a);
        assert_eq!(gate.bytes(), 30);
        drop(b);
        assert_eq!(gate.bytes(), 0);
    }

    #[test]
    fn who_is_alone_is_let_in_whatever_the_size() {
        let gate = Admission::new(100);
        let mut a = gate.admit(500).unwrap();
        a.grow(500).unwrap();
        assert!(gate.admit(1).is_err());
        drop(a);
        assert!(gate.admit(1).unwrap().grow(u64::MAX).is_err());
        assert_eq!(gate.bytes(), 0);
    }
}
