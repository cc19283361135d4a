//! Messages of the wire protocols that Cardinal speaks.
