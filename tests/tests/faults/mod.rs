//! Everything that can break between an operator and a device, and what the connections through it make of that.

mod fault;
mod footprint;
mod round;
mod site;

pub(crate) use fault::Fault;
pub(crate) use footprint::Footprint;
pub(crate) use round::Outcome;
pub(crate) use site::Site;
