//! Lists that others publish, in the formats they publish them in.
