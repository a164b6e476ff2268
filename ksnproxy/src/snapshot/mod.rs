//! Everything that is known at one moment, signed and never changed.
