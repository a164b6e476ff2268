//! Which addresses a tunnel to another host may never reach.
