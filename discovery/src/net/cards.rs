//! This machine's own network cards.

use super::{PollError, route};
use crate::mac::Mac;

/// Addresses of this machine's network cards, in order: whoever finds one of them has found this machine.
///
/// # Errors
/// [`PollError::Routes`].
pub async fn own_cards() -> Result<Vec<Mac>, PollError> {
    let routes = route::read().await.map_err(PollError::Routes)?;
    let mut cards: Vec<_> = routes.interfaces.values().filter_map(|interface| interface.mac).collect();
    cards.sort_unstable();
    cards.dedup();
    Ok(cards)
}
